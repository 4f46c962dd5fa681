"""Memory of the nodes: what tasks under way need of it, and whether one more has room."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from promptseg.work.cluster.worker_pool import Member

__all__ = ["NodesRoom"]

log = logging.getLogger("promptseg")


class NodesRoom:
    """Memory that every node has for tasks, by what Ray says it has (`--memory`, or its share).

    What the processes hold that are there anyway, such as a model, is taken off.
    """

    def __init__(self) -> None:
        self._all: dict[str, float] = {}
        self._held: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._said = False

    def look(self, nodes: Iterable[dict[str, Any]], members: Iterable[Member]) -> None:
        """Record which nodes there are, and what the processes on them hold.

        Args:
            nodes: as `ray.nodes()` has them.
            members: processes that are there.
        """
        alive = (node for node in nodes if node["Alive"])
        self._all = {n["NodeID"]: n["Resources"].get("memory", float("inf")) for n in alive}
        self._held = Counter()
        for member in members:
            self._held[member.node] += member.held

    def most(self, nodes: Collection[str] = ()) -> float:
        """Return the bytes that the node with most memory has for tasks.

        Args:
            nodes: that count; all of them if none is named.
        """
        return max((self._of(node) for node in nodes or self._all), default=float("inf"))

    def has(self, member: Member, need: int) -> bool:
        """Tell whether a task may be done by a process, beside what is done on its node just now."""
        if need == 0 or self._used[member.node] + need <= self._of(member.node):
            return True
        if not self._said:
            self._said = True
            log.warning(
                "a case needs about %.1f GiB: fewer are done at once where they do not fit together",
                need / 2**30,
            )
        return False

    def take(self, member: Member, need: int) -> None:
        """Record that a task begins on the node of a process."""
        self._used[member.node] += need

    def give_back(self, member: Member, need: int) -> None:
        """Record that it has ended there."""
        self._used[member.node] -= need

    def _of(self, node: str) -> float:
        return self._all.get(node, float("inf")) - self._held[node]
