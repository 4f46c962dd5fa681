"""Memory for tasks: they are begun only where what they need is free."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from heapq import nlargest
from typing import Any

from promptseg.errors import PromptsegError
from promptseg.formats.memory import available_bytes
from promptseg.work.task import Task

__all__ = ["Room", "TooLargeError", "need_of", "processes_with_room", "without_memory"]

log = logging.getLogger("promptseg")

_GIB = 2.0**30
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch's own errors of this kind say, which on a CPU have no type of their own."""


class TooLargeError(PromptsegError):
    """A task that needs more memory than there is."""

    @classmethod
    def of(cls, need: int, room: float, where: str) -> TooLargeError:
        """Return the error for a task that needs more memory than there is.

        Args:
            need: bytes that it takes, about.
            room: bytes that there are.
            where: in words.
        """
        return cls(
            f"a case that fits into the {max(0.0, room) / _GIB:.1f} GiB free {where}",
            f"one that needs about {need / _GIB:.1f} GiB",
            "crop it, lower --workers, or do it on a machine with more memory",
        )


def without_memory(error: BaseException) -> TooLargeError | None:
    """Return the error for a task that memory has ended for; None where an exception says otherwise.

    Memory of the machine (`MemoryError`, as numpy's), or of a device (`torch.OutOfMemoryError`).

    Examples:
        >>> without_memory(MemoryError("Unable to allocate 8.00 TiB")).got
        'one that there is not enough for (Unable to allocate 8.00 TiB)'
        >>> without_memory(KeyError("a")) is None
        True
    """
    torch = sys.modules.get("torch")  # nothing of it is met where nobody has imported it
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    said = " ".join(str(error).split())[:160]
    by_words = isinstance(error, RuntimeError) and any(words in said.lower() for words in _WORDS)
    if not (on_device or by_words or isinstance(error, MemoryError)):
        return None
    lower = "lower --workers or --batch, crop it"
    elsewhere = "choose --device cpu" if on_device else "do it on a machine with more memory"
    return TooLargeError(
        "a case that fits into the memory",
        f"one that there is not enough for ({said or type(error).__name__})",
        f"{lower}, or {elsewhere}",
    )


class Room:
    """The memory of this machine that tasks under way share.

    Tasks wait in a queue before they are begun: those that may be at work at the same time, the
    largest `workers` of them, have to fit together.

    Args:
        workers: how many tasks are at work at most.
        held: bytes that each worker will hold beside its task, if it is not running yet.
        free: bytes that are free before the workers start; what the system says if None.
    """

    def __init__(self, workers: int, held: int = 0, free: float | None = None) -> None:
        free = available_bytes() if free is None else free
        self._workers = workers
        self.bytes = float("inf") if free is None else free - workers * held
        self._said = False

    def refusal(self, need: int) -> TooLargeError | None:
        """Return the error where a task that needs so many bytes can never be begun; else None."""
        if need <= max(0.0, self.bytes) or need == 0:
            return None
        return TooLargeError.of(need, self.bytes, "here")

    def holds(self, task: Task[Any, Any], need: int, others: Iterable[int]) -> bool:
        """Tell whether a task may be begun beside others; warn, once, where one has to wait.

        Args:
            task: which.
            need: bytes that it takes.
            others: bytes of those that are under way or queued.
        """
        together = sum(nlargest(self._workers, [need, *others]))
        if need == 0 or together <= self.bytes:
            return True
        if not self._said:
            self._said = True
            log.warning(
                "%s needs about %.1f GiB, of %.1f GiB that are free: fewer than %d are done at once "
                "where they do not fit together",
                task.title,
                need / _GIB,
                self.bytes / _GIB,
                self._workers,
            )
        return False


def need_of(task: Task[Any, Any]) -> int:
    """Estimate the bytes that a task takes; 0 where nobody knows, which doing it will show."""
    try:
        return max(0, task.memory())
    except (PromptsegError, OSError):  # doing it says what is wrong
        return 0


def processes_with_room(workers: int, held: int) -> int:
    """Return how many processes there is memory for, at least one; warn where they are fewer.

    Args:
        workers: that were asked for.
        held: bytes that each holds before it does anything.
    """
    free = available_bytes()
    if not held or free is None or workers * held <= free:
        return workers
    fewer = max(1, int(free // held))
    if fewer < workers:
        log.warning(
            "%d processes in place of %d: each takes about %.1f GiB, and %.1f GiB are free",
            fewer,
            workers,
            held / _GIB,
            free / _GIB,
        )
    return fewer
