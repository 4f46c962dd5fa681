"""Results of other machines that network storage shows late."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from promptseg.errors import OutputError, PromptsegError
from promptseg.work.task import Task

__all__ = ["await_results", "looks"]

_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)  # seconds; NFS remembers for a minute at most


def looks() -> Iterator[float]:
    """Yield seconds until what others have written is looked for again: at once, then later and later.

    Examples:
        >>> next(looks())
        0.0
    """
    yield 0.0
    yield from _WAITS


def await_results(tasks: Iterable[Task[Any, Any]]) -> None:
    """Wait until the results of tasks that others have done are seen here.

    Args:
        tasks: all of them done.

    Raises:
        OutputError: some are not, after a minute and a half.
    """
    unseen = list(tasks)
    for wait in looks():
        time.sleep(wait)
        unseen = [task for task in unseen if not _is_seen(task)]
        if not unseen:
            return
    raise OutputError(
        "results where this machine sees them",
        f"none of {unseen[0].title} after {sum(_WAITS):.0f} s, nor of {len(unseen) - 1} others",
        "write to storage that all machines share; the same command goes on",
    )


def _is_seen(task: Task[Any, Any]) -> bool:
    try:
        return task.is_done()
    except (OSError, PromptsegError):
        return False
