"""One task on its way through a cluster, and whom its failures are to be blamed on."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from promptseg.errors import PromptsegError
from promptseg.work.cluster.worker_pool import Member
from promptseg.work.task import Task

__all__ = ["Call", "Case", "Stage", "set_aside"]

Stage = Literal["read", "compute", "write", "do"]

_TRIES = 2  # processes that a task may kill
_LOST = 10  # nodes that may be lost under it


@dataclass(eq=False)
class Case:
    """A task on its way.

    Attributes:
        task: which.
        bytes: of what was read for it, about.
        need: bytes of memory that computing it takes, about; 0 if not known.
        given, computed: references to what was read and computed.
        deaths: nodes on which a process died while it did this task.
        lost: how often it had to be done anew because a node was lost.
        running: calls that are made for it just now.
        closed: whether its outcome is known.
    """

    task: Task[Any, Any]
    bytes: int
    need: int = 0
    given: Any = None
    computed: Any = None
    deaths: list[str] = field(default_factory=list)
    lost: int = 0
    running: int = 0
    closed: bool = False

    def to_blame(self, alive: Collection[str]) -> bool:
        """Tell whether the task itself kills processes: they died on nodes that are still there.

        What died with its node is forgotten, unless that goes on and on.
        """
        own = [node for node in self.deaths if node in alive]
        self.lost += len(self.deaths) - len(own)
        self.deaths = own
        return len(own) >= _TRIES or self.lost > _LOST

    @property
    def again(self) -> bool:
        """Tell whether a process has died doing the task."""
        return bool(self.deaths or self.lost)

    @property
    def suspect(self) -> bool:
        """Tell whether it has used up its tries, if no node was lost."""
        return len(self.deaths) >= _TRIES or self.lost > _LOST


@dataclass(eq=False)
class Call:
    """A stage of a case that is being done.

    Attributes:
        case: whose.
        stage: which.
        member: who does it.
        result: reference to what comes of it, where that stays on the cluster.
        need: bytes of memory that it takes on its node, about.
        begun: when, as `time.monotonic`.
    """

    case: Case
    stage: Stage
    member: Member
    result: Any = None
    need: int = 0
    begun: float = field(default_factory=time.monotonic)


def set_aside(reason: str) -> PromptsegError:
    """Return the error for a task that is not tried again."""
    return PromptsegError(
        "a worker process that stays alive",
        f"one that died twice, most likely for lack of memory ({reason})",
        "do this one alone, on a machine with more memory",
    )
