"""Executors of the tasks of a job: this process, or a pool of processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Protocol

from promptseg.errors import PromptsegError
from promptseg.work.memory import Room, need_of, processes_with_room, without_memory
from promptseg.work.pace import Pace
from promptseg.work.task import Task

__all__ = ["Done", "Executor", "Inline", "Processes", "Threads", "attempt"]

Done = tuple[Task[Any, Any], Any, PromptsegError | None]
"""A task, its result, and what was wrong with it (the result is None then)."""

MakeContext = Callable[[], Any]
_AHEAD = 4  # tasks each process has waiting
_MOST_KILLED = 4  # tasks after each other that kill their process, until they are not to blame
_LOOK = 5.0  # seconds until those that are at work are looked at
_Future = Future[Any]


class Executor(Protocol):
    """Does tasks, in any order, and gives each back when it is done or has failed."""

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks, taken one by one as there is room for them.

        Leaving the loop gives up what has not begun. An error that is not a `PromptsegError`, nor
        one of memory that has ended, is not about a task and ends it.
        """
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Inline:
    """Does tasks in this process, one after the other, in their order.

    Args:
        make_context: called before the first task, and only if there is one.
    """

    def __init__(self, make_context: MakeContext) -> None:
        self._make_context = make_context
        self._made: list[Any] = []

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks in their order."""
        for task in tasks:
            self.prepare()
            need = need_of(task)
            refusal = Room(1).refusal(need) if need else None
            yield (task, None, refusal) if refusal else (task, *attempt(task.do, self._made[0]))

    def prepare(self) -> None:
        """Make the context, if that was not done yet."""
        if not self._made:
            self._made.append(self._make_context())

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Threads:
    """Does tasks side by side in this process, with one context for all.

    For work that a device does better together: the context has to be made for several threads. A task
    is begun where the memory that it needs is free beside the others.

    Args:
        workers: how many threads.
        make_context: called before the first task, and only if there is one.
    """

    def __init__(self, workers: int, make_context: MakeContext) -> None:
        self.workers = workers
        self._make_context = make_context

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks as threads are free."""
        every = iter(tasks)
        if (first := next(every, None)) is None:
            return
        context = self._make_context()
        waiting = _Waiting(chain([first], every), Room(self.workers))
        futures: dict[_Future, Task[Any, Any]] = {}
        with ThreadPoolExecutor(self.workers, thread_name_prefix="task") as pool:
            while True:
                for _ in range(self.workers - len(futures)):
                    task = waiting.next(futures.values())
                    if task is None:
                        break
                    futures[pool.submit(attempt, task.do, context)] = task
                yield from waiting.refused()
                if not futures:
                    return
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), *future.result()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Processes:
    """Does tasks in a pool of spawned processes, each with a context of its own.

    A task is begun where the memory that it needs is free beside those at work; one that needs more
    than there is is given back with an error.

    When a process is killed (for lack of memory, or by a library), the pool is made anew. Tasks that
    were in it are then done one at a time; the one that kills its process again is given back with an
    error, and the others go on.

    Args:
        workers: how many processes.
        make_context: called in each process before its first task; it and the tasks are pickled.
        context_bytes: about what each process holds before it does anything.
    """

    def __init__(self, workers: int, make_context: MakeContext, context_bytes: int = 0) -> None:
        self.workers = processes_with_room(workers, context_bytes)
        self._make_context, self._held = make_context, context_bytes
        self._pool = self._new_pool()

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks as processes are free; a few wait for each, so that a long list is never held."""
        waiting = _Waiting(tasks, Room(self.workers, self._held))
        futures: dict[_Future, Task[Any, Any]] = {}
        suspects: list[Task[Any, Any]] = []
        pace = Pace()
        try:
            while True:
                for _ in range(self.workers * _AHEAD - len(futures)):
                    task = waiting.next(futures.values())
                    if task is None:
                        break
                    self._submit(task, futures, suspects)
                yield from waiting.refused()
                if not futures and not suspects:
                    return
                for future in wait(futures, _LOOK, return_when=FIRST_COMPLETED).done:
                    task = futures.pop(future)
                    try:
                        *answer, seconds = future.result()
                    except BrokenProcessPool:
                        suspects.append(task)
                        continue
                    pace.ended(seconds)
                    yield task, *answer
                if 0 < len(futures) < self.workers:
                    pace.look(futures.values())
                if suspects and not futures:  # with a pool, all that was in it breaks
                    self._renew()
                    yield from self._one_by_one(suspects)
                    suspects = []
        finally:
            for future in futures:
                future.cancel()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.workers, get_context("spawn"), _begin, (self._make_context,)
        )

    def _renew(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._new_pool()

    def _submit(
        self,
        task: Task[Any, Any],
        futures: dict[_Future, Task[Any, Any]],
        suspects: list[Task[Any, Any]],
    ) -> None:
        try:
            futures[self._pool.submit(_do, task)] = task
        except BrokenProcessPool:
            suspects.append(task)

    def _one_by_one(self, suspects: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks that were in a pool when it broke; what breaks it again is at fault.

        Raises:
            PromptsegError: whatever is done, the process dies.
        """
        killed = 0
        for task in suspects:
            try:
                result, error, _ = self._pool.submit(_do, task).result()
                killed = 0
            except BrokenProcessPool:
                killed += 1
                if killed == _MOST_KILLED:
                    raise _killed() from None
                self._renew()
                result, error = None, _killed()
            yield task, result, error


class _Waiting:
    """Tasks that are not begun, each looked at when there is a place for it."""

    def __init__(self, tasks: Iterable[Task[Any, Any]], room: Room) -> None:
        self._tasks, self._room = iter(tasks), room
        self._first: tuple[Task[Any, Any], int] | None = None
        self._needs: dict[int, int] = {}
        self._refused: list[Done] = []

    def next(self, begun: Collection[Task[Any, Any]]) -> Task[Any, Any] | None:
        """The next one, if there is room for it beside those that are begun; None if there is not."""
        self._needs = {id(task): self._needs[id(task)] for task in begun}
        while self._first is None:
            task = next(self._tasks, None)
            if task is None:
                return None
            need = need_of(task)
            if (error := self._room.refusal(need)) is None:
                self._first = task, need
            else:
                self._refused.append((task, None, error))
        task, need = self._first
        if begun and not self._room.holds(task, need, self._needs.values()):
            return None
        self._first = None
        self._needs[id(task)] = need
        return task

    def refused(self) -> Iterator[Done]:
        """Those that need more memory than there is, each once."""
        refused, self._refused = self._refused, []
        yield from refused


def _killed() -> PromptsegError:
    return PromptsegError(
        "a worker process that stays alive",
        "one that was killed twice, most likely for lack of memory",
        "lower --workers, or do this one alone",
    )


@dataclass(frozen=True)
class _NoContext:
    """Why there is none."""

    error: PromptsegError


_context: list[Any] = []  # of a worker process


def _begin(make_context: MakeContext) -> None:
    try:
        _context[:] = [make_context()]
    except PromptsegError as error:  # raised here, it would only say that the pool is broken
        _context[:] = [_NoContext(error)]


def _do(task: Task[Any, Any]) -> tuple[Any, PromptsegError | None, float]:
    """As `attempt`, with the seconds that it took."""
    if isinstance(_context[0], _NoContext):
        raise _context[0].error
    begun = time.monotonic()
    return *attempt(task.do, _context[0]), time.monotonic() - begun


def attempt(work: Callable[..., Any], *given: Any) -> tuple[Any, PromptsegError | None]:
    """Return the result of work on a task, or what is wrong with the task.

    Args:
        work: the whole of it, or a stage.
        given: to the work.

    Examples:
        >>> attempt(int, "7")
        (7, None)
    """
    try:
        return work(*given), None
    except PromptsegError as error:
        return None, error
    except (MemoryError, RuntimeError) as error:
        if (lack := without_memory(error)) is None:
            raise
        return None, lack
