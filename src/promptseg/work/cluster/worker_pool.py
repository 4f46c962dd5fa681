"""A pool of workers: actors of one kind that are started, idle, at work, and replaced when they die."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from promptseg._version import __version__
from promptseg.errors import InputError, PromptsegError
from promptseg.work.cluster.nodes import ray_module

__all__ = ["Member", "WorkerPool"]

log = logging.getLogger("promptseg")

_FAILED_STARTS = 3  # of every member after each other, until it is no accident


@dataclass(eq=False)
class Member:
    """One actor.

    Attributes:
        actor: its handle.
        node: where it is.
        held: bytes of memory that its process has before it does anything.
    """

    actor: Any
    node: str = ""
    held: int = 0


class WorkerPool:
    """A pool of actors of one kind, as many as were asked for and the cluster has room for.

    Those it has no room for wait: a cluster that grows by itself takes them as a reason to.

    Args:
        kind: class of the actors.
        make: gives what each needs; called once in each.
        size: how many.
        options: what Ray reserves for each.
    """

    def __init__(
        self, kind: type[Any], make: Callable[[], Any], size: int, options: dict[str, Any]
    ) -> None:
        self._ray = ray_module()
        self._remote, self._make, self.size = self._ray.remote(kind), make, size
        # restarted by us: Ray's own restart would not say which task was to blame
        self._options = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 1, **options}
        self.starting: dict[Any, Member] = {}
        self.idle: list[Member] = []
        self._busy: set[Member] = set()
        self._failed = 0
        self._begun = False
        for _ in range(size):
            self._start()

    @property
    def ready(self) -> int:
        """Tell how many are there, idle or at work."""
        return len(self.idle) + len(self._busy)

    @property
    def members(self) -> list[Member]:
        """Return the workers that are there, idle or at work."""
        return [*self.idle, *self._busy]

    def take(self, has_room: Callable[[Member], bool] | None = None) -> Member | None:
        """Take an idle worker for a call, and return it; None if there is none.

        Args:
            has_room: whether one may be taken; any if None.
        """
        for place in reversed(range(len(self.idle))):
            if has_room is None or has_room(self.idle[place]):
                member = self.idle.pop(place)
                self._busy.add(member)
                return member
        return None

    def give_back(self, member: Member) -> None:
        """Give back a worker that has answered."""
        self._busy.discard(member)
        self.idle.append(member)

    def replace(self, member: Member) -> None:
        """Replace a worker that has died or cannot be reached by another one."""
        self._busy.discard(member)
        self._ray.kill(member.actor)
        self._start()

    def greeted(self, ref: Any) -> None:
        """Take in a worker that was starting and has said hello, or why it cannot work.

        Raises:
            PromptsegError: nothing can be done, before anything was.
            InputError: they die whenever they are started.
        """
        member = self.starting.pop(ref)
        try:
            member.node, member.held, error = self._ray.get(ref)
        except self._ray.exceptions.RayError as died:  # it has died, or could not be placed
            self._failed += 1
            if self._failed > _FAILED_STARTS * self.size:
                raise InputError(
                    "worker processes that start",
                    " ".join(str(died).split())[:300],
                    "look at the logs of the cluster",
                ) from None
            self._start()
            return
        self._failed = 0
        if error is None:
            self._begun = True
            self.idle.append(member)
            return
        self._ray.kill(member.actor)
        if not self._begun:
            raise error
        log.warning("a node that joined cannot work: %s", _short(error))
        self.size -= 1

    def end(self) -> None:
        """Stop all of them, whatever they do."""
        for member in (*self.starting.values(), *self.idle, *self._busy):
            self._ray.kill(member.actor)
        self.starting.clear()
        self.idle.clear()
        self._busy.clear()

    def _start(self) -> None:
        actor = self._remote.options(**self._options).remote(self._make, os.getcwd(), __version__)
        self.starting[actor.hello.remote()] = Member(actor)


def _short(error: PromptsegError) -> str:
    return " ".join(str(error).split())
