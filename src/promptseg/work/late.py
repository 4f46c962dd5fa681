"""Results of other machines that storage shows late, or never: waited for, and missed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from promptseg.errors import OutputError, PromptsegError
from promptseg.work.executors import Done, Executor
from promptseg.work.task import Task

__all__ = ["Watched", "await_results"]

_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)  # seconds; NFS remembers for a minute at most

IsSeen = Callable[[Task[Any, Any], Any], bool]
"""Whether a task's result is where this process sees it; also given is what the task gave."""


class Watched:
    """An executor on other machines, whose results are looked for as this process sees them.

    A machine may have a disk of its own under the path of the output: all would be done there, and
    nothing be here. What is not seen at once is looked for again after a minute and a half, and in
    the end; nothing is held of tasks whose results are seen.

    Args:
        executor: does the tasks.
        is_seen: tells whether the result of a task that is done is here.
    """

    def __init__(self, executor: Executor, is_seen: IsSeen) -> None:
        self._executor, self._is_seen = executor, is_seen

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks; see `Executor`.

        Raises:
            OutputError: results are not seen a minute and a half after they were made.
        """
        unseen: deque[tuple[float, Task[Any, Any], Any]] = deque()
        for task, result, error in self._executor.each(tasks):
            if error is None and not _sees(self._is_seen, task, result):
                unseen.append((time.monotonic() + sum(_WAITS), task, result))
            yield task, result, error
            while unseen and time.monotonic() > unseen[0][0]:
                _, task, result = unseen.popleft()
                if not _sees(self._is_seen, task, result):
                    raise _missed(task, len(unseen))
        _await([(task, result) for _, task, result in unseen], self._is_seen)

    def __enter__(self) -> Watched:
        self._executor.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.__exit__(kind, error, traceback)


def await_results(tasks: Iterable[Task[Any, Any]]) -> None:
    """Wait until the results of tasks that others have done are seen here.

    Args:
        tasks: all of them done.

    Raises:
        OutputError: some are not, after a minute and a half.
    """
    _await([(task, None) for task in tasks], lambda task, _: task.is_done())


def _await(unseen: list[tuple[Task[Any, Any], Any]], is_seen: IsSeen) -> None:
    for wait in (0.0, *_WAITS):
        time.sleep(wait)
        unseen = [one for one in unseen if not _sees(is_seen, *one)]
        if not unseen:
            return
    raise _missed(unseen[0][0], len(unseen) - 1)


def _sees(is_seen: IsSeen, task: Task[Any, Any], result: Any) -> bool:
    try:
        return is_seen(task, result)
    except (OSError, PromptsegError):
        return False


def _missed(task: Task[Any, Any], others: int) -> OutputError:
    return OutputError(
        "results where this machine sees them",
        f"none of {task.title} after {sum(_WAITS):.0f} s, nor of {others} others",
        "write to storage that all machines share; the same command goes on",
    )
