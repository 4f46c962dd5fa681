"""The model of cost of benchmarks/cluster_cost.py, where the answer is known by hand."""

from __future__ import annotations

import pytest
from cluster_cost import Scan, Site, simulate

SCAN = Scan(read_cpu=1, compute=7, write_cpu=2, read_bytes=100, written_bytes=0)


def site(nodes: int = 1, processes: int = 1, storage: float = 1e12, **more: float) -> Site:
    how = {"network": 1e12, "latency": 0.0, "driver": 0.0, "start": 5.0, "ahead": 3, **more}
    return Site(nodes, processes, storage, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize(("nodes", "processes"), [(1, 1), (1, 4), (4, 1), (2, 5)])
def test_work_alone_divides_among_processes(nodes: int, processes: int, ahead: int) -> None:
    found = simulate([SCAN] * 40, site(nodes, processes, ahead=ahead))
    assert found.seconds == pytest.approx(5 + 40 * 10 / nodes / processes)
    assert found.workers == pytest.approx(1 - 5 / found.seconds)


def test_storage_that_is_slow_is_all_that_counts() -> None:
    found = simulate([SCAN] * 200, site(10, 10, storage=1.0))
    assert found.seconds == pytest.approx(200 * 100 + 10, rel=0.01)
    assert found.storage > 0.99


def test_reading_ahead_hides_storage_that_keeps_up() -> None:
    ahead, behind = (simulate([SCAN] * 50, site(storage=20.0, ahead=k)) for k in (3, 0))
    assert ahead.seconds == pytest.approx(5 + 50 * 10, rel=0.01)
    assert behind.seconds == pytest.approx(5 + 50 * 15, rel=0.01)


def test_the_driver_limits_many_processes() -> None:
    found = simulate([SCAN] * 1000, site(100, 10, driver=0.5))
    assert found.seconds == pytest.approx(1000 * 0.5 + 10, rel=0.02)
    assert found.driver > 0.95


def test_each_node_has_its_own_network() -> None:
    one, two = (simulate([SCAN] * 2000, site(nodes, 5, network=10.0)) for nodes in (1, 2))
    assert one.seconds == pytest.approx(2000 * 10 + 10, rel=0.02)
    assert two.seconds == pytest.approx(1000 * 10 + 10, rel=0.03)
