"""A Ray cluster before any work: connected to, and every node looked at."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from promptseg._version import __version__
from promptseg.errors import InputError, MissingPackageError, PromptsegError
from promptseg.work.cluster.actors import enter

__all__ = ["AUTO", "Node", "check_versions", "connect", "disconnect", "looked_at", "ray_module"]

AUTO = "auto"
"""In place of an address: the cluster that RAY_ADDRESS names, or the one this machine belongs to."""

_LOOK = 600.0  # seconds that a node may take to answer: a busy one imports for minutes
_MAJOR_MINOR = 2


@dataclass(frozen=True)
class Node:
    """One machine of a cluster.

    Attributes:
        name: address by which people know it.
        promptseg: version there; empty if it is not installed.
        python: version there.
        found: what `look` gave there, such as the hash of weights.
    """

    name: str
    promptseg: str
    python: str
    found: str = ""


def ray_module() -> Any:
    """Return Ray, with its reports of usage switched off in this process.

    Raises:
        MissingPackageError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # a driver that is started by uv or the like would have its environment built on every node
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise MissingPackageError("ray", "for --cluster", "ray") from None
    return ray


def connect(address: str) -> bool:
    """Join a cluster that is there already.

    Args:
        address: HOST:PORT of its head, or "auto".

    Returns:
        Whether this call connected; False if the process was connected before.

    Raises:
        InputError: no cluster there, or one with another version of Ray or Python.
    """
    ray = ray_module()
    if ray.is_initialized():
        return False
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
        )
    except (ConnectionError, OSError, ValueError) as error:
        raise InputError(
            "a Ray cluster that is running",
            f"none at {address} ({_line(error)})",
            "start one with ray start --head, or name HOST:PORT of its head",
        ) from None
    except RuntimeError as error:  # also: "Version mismatch", with both versions
        raise InputError(
            f"a Ray cluster with Ray {ray.__version__} and Python {platform.python_version()}",
            _line(error),
            "install the same versions on all machines",
        ) from None
    return True


def disconnect() -> None:
    """Leave the cluster; actors that belong to this process end."""
    ray_module().shutdown()


def looked_at(look: Callable[[], str] | None = None) -> list[Node]:
    """Ask every node of the cluster what it runs.

    Args:
        look: called there as well; what it returns has to be alike on all nodes.

    Raises:
        InputError: other versions of promptseg or Python, nodes that differ or do not answer.
        PromptsegError: what `look` raised, with the node's name.
    """
    ray = ray_module()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def versions() -> tuple[str, str]:  # pickled as code: the node may have no promptseg at all
        import platform as there

        try:
            from promptseg._version import __version__ as version
        except ImportError:
            version = ""
        return version, there.python_version()

    alive = [node for node in ray.nodes() if node["Alive"]]

    def ask(function: Callable[[], Any]) -> list[Any]:
        task = ray.remote(num_cpus=0, max_retries=2)(function)
        refs = [
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in alive
        ]
        return [_answer(ray, ref, _name(node)) for ref, node in zip(refs, alive, strict=True)]

    nodes = [Node(_name(node), *said) for node, said in zip(alive, ask(versions), strict=True)]
    check_versions(nodes)
    if look is None:
        return nodes
    here = os.getcwd()
    found = ask(lambda: _looked(look, here))
    nodes = [
        Node(node.name, node.promptseg, node.python, said)
        for node, said in zip(nodes, found, strict=True)
    ]
    for node, said in zip(nodes, found, strict=True):
        if isinstance(said, PromptsegError):
            said.got = f"{said.got} (on node {node.name})"
            raise said
        if said != found[0]:
            raise InputError(
                f"the same weights on all nodes, as on {nodes[0].name}",
                f"others on {node.name}",
                "copy the file there",
            )
    return nodes


def check_versions(nodes: Iterable[Node]) -> None:
    """Refuse nodes that could do something else than this machine would.

    Raises:
        InputError: another version of promptseg, or another minor version of Python; with both.
    """
    here = platform.python_version()
    for node in nodes:
        if node.promptseg != __version__:
            there = f"promptseg {node.promptseg}" if node.promptseg else "none"
            raise InputError(
                f"promptseg {__version__} on every node, as here",
                f"{there} on {node.name}",
                "install the same version on all machines",
            )
        if _minor(node.python) != _minor(here):
            raise InputError(
                f"Python {here} on every node, as here",
                f"Python {node.python} on {node.name}",
                "use the same version on all machines",
            )


def _minor(version: str) -> list[str]:
    return version.split(".")[:_MAJOR_MINOR]


def _looked(look: Callable[[], str], folder: str) -> Any:
    enter(folder)
    try:
        return look()
    except PromptsegError as error:
        return error


def _answer(ray: Any, ref: Any, name: str) -> Any:
    try:
        return ray.get(ref, timeout=_LOOK)
    except ray.exceptions.GetTimeoutError:
        raise InputError(
            "nodes that answer", f"{name}: nothing in {_LOOK:.0f} s", "look at its logs"
        ) from None
    except ray.exceptions.RayError as error:
        raise InputError(
            "nodes that can run promptseg", f"{name}: {_line(error)}", "look at its logs"
        ) from None


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__
