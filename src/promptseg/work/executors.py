"""Who does units of work: this process, or a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Protocol

from promptseg.errors import PromptsegError
from promptseg.work.unit import Unit

__all__ = ["Done", "Executor", "Inline", "Processes", "executor_for"]

Done = tuple[Unit[Any, Any], Any, PromptsegError | None]
"""A unit, its result, and what was wrong with it (the result is None then)."""

MakeContext = Callable[[], Any]
_AHEAD = 4  # units each process has waiting


class Executor(Protocol):
    """Does units, in any order, and gives each back when it is done or has failed."""

    def each(self, units: Iterable[Unit[Any, Any]]) -> Iterator[Done]:
        """Do units, taken one by one as there is room for them.

        Leaving the loop gives up what has not begun. An error that is not a `PromptsegError` is not
        about a unit and ends it.
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
    """Does units in this process, one after the other, in their order.

    Args:
        make_context: called before the first unit, and only if there is one.
    """

    def __init__(self, make_context: MakeContext) -> None:
        self._make_context = make_context
        self._made: list[Any] = []

    def each(self, units: Iterable[Unit[Any, Any]]) -> Iterator[Done]:
        """Do units in their order."""
        for unit in units:
            if not self._made:
                self._made.append(self._make_context())
            yield unit, *_attempt(unit, self._made[0])

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Processes:
    """Does units in a pool of spawned processes, each with a context of its own.

    Args:
        workers: how many processes.
        make_context: called in each process before its first unit; it and the units are pickled.
    """

    def __init__(self, workers: int, make_context: MakeContext) -> None:
        self.workers = workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (make_context,))

    def each(self, units: Iterable[Unit[Any, Any]]) -> Iterator[Done]:
        """Do units as processes are free; a few wait for each, so that a long list is never held."""
        waiting = iter(units)
        futures: dict[Future[tuple[Any, PromptsegError | None]], Unit[Any, Any]] = {}
        try:
            while True:
                for unit in islice(waiting, self.workers * _AHEAD - len(futures)):
                    futures[self._pool.submit(_do, unit)] = unit
                if not futures:
                    return
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), *_result_of(future)
        finally:
            for future in futures:
                future.cancel()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def executor_for(workers: int, make_context: MakeContext, units: Sequence[Any]) -> Executor:
    """The executor for a number of workers: no more processes than units, and none for one."""
    workers = min(workers, len(units))
    return Processes(workers, make_context) if workers > 1 else Inline(make_context)


def _result_of(
    future: Future[tuple[Any, PromptsegError | None]],
) -> tuple[Any, PromptsegError | None]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise PromptsegError(
            "worker processes that stay alive",
            "one that was killed, most likely for lack of memory",
            "lower --workers; the same command goes on where it was cut off",
        ) from error


_context: list[Any] = []  # of a worker process


def _begin(make_context: MakeContext) -> None:
    _context[:] = [make_context()]


def _do(unit: Unit[Any, Any]) -> tuple[Any, PromptsegError | None]:
    return _attempt(unit, _context[0])


def _attempt(unit: Unit[Any, Any], context: Any) -> tuple[Any, PromptsegError | None]:
    """The result of a unit, or what is wrong with it."""
    try:
        return unit.do(context), None
    except PromptsegError as error:
        return None, error
