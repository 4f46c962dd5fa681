"""Ray clusters on this machine for tests, and what kills parts of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
SOURCES = TESTS.parent / "src"
ROOM = 150 << 20  # bytes of the object store, the least that Ray takes is 75 MiB


@contextmanager
def two_nodes(cpus: int = 4, **second: Any) -> Iterator[Any]:
    """A head and a second node, each with so many CPUs declared.

    Skips the test where Ray is not installed or the tests with clusters were not asked for.
    """
    if not os.environ.get("PROMPTSEG_CLUSTER_TESTS"):
        pytest.skip("PROMPTSEG_CLUSTER_TESTS is not set")
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    kept = dict(os.environ)
    os.environ |= {
        "PYTHONPATH": os.pathsep.join([str(SOURCES), str(TESTS)]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "RAY_health_check_period_ms": "1000",
    }
    node: dict[str, Any] = {
        "num_cpus": cpus,
        "object_store_memory": ROOM,
        "include_dashboard": False,
    }
    for tries in (2, 1, 0):  # a node has 30 s to start, which are few on a machine under load
        try:
            cluster = Cluster(initialize_head=True, head_node_args=node)
            break
        except Exception:
            if not tries:
                raise
    try:
        cluster.add_node(**{**node, **second})
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ |= kept


def lose_a_node(cluster: Any) -> None:
    """The second node is gone at once, as with its power."""
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)


def kill_one(kind: str, cluster: Any) -> int:
    """Kill a process of this cluster that is an actor of a class; returns its number, 0 if none is."""
    raylets = {_raylet(node) for node in cluster.list_all_nodes()}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            words = (place / "cmdline").read_bytes()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if words.startswith(f"ray::{kind}".encode()) and parent in raylets:
            os.kill(int(place.name), signal.SIGKILL)
            return int(place.name)
    return 0


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
