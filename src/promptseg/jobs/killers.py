"""Cases that kill the one process which does a list: recorded, and set aside at the third start.

Where several processes do a list, the one that stays sees another die. One process alone is gone, and
only what it has written before tells the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from promptseg.errors import NoSpaceError, OutputError, PromptsegError
from promptseg.leftovers import part_name
from promptseg.train.stopping import terminating_as_interrupt
from promptseg.work import Inline, Task
from promptseg.work.executors import Done

__all__ = ["WithoutKillers"]

_TRIES = 2


class WithoutKillers:
    """Does tasks in this process, but for those in which it was killed twice; an `Executor`.

    A task is recorded before it is begun, and forgotten when it has ended, whatever came of it, or was
    interrupted (Ctrl-C, SIGTERM, a full disk). What was set aside stays recorded until all are over, so
    that the next killer does not begin it anew; after that the record is gone.

    Args:
        executor: does the tasks.
        record: path of the record, in a folder that is there.
        key_of: gives what a task is known by from one process to the next.
        aside: makes what is given back in place of a task: it raises the error.
    """

    def __init__(
        self,
        executor: Inline,
        record: Path,
        key_of: Callable[[Task[Any, Any]], str],
        aside: Callable[[Task[Any, Any], PromptsegError], Task[Any, Any]],
    ) -> None:
        self._executor, self._record = executor, record
        self._key_of, self._aside = key_of, aside
        self._stack = ExitStack()

    def each(self, tasks: Iterable[Task[Any, Any]]) -> Iterator[Done]:
        """Do tasks in their order; see `Executor`."""
        begun = _Begun(self._record)
        try:
            for done in self._executor.each(self._recorded(tasks, begun)):
                begun.end()
                yield done
        except BaseException:  # this process goes on, so it was not killed
            with contextlib.suppress(PromptsegError):  # what ends it is said
                begun.take_back()
            raise
        begun.forget()

    def __enter__(self) -> WithoutKillers:
        self._stack.enter_context(terminating_as_interrupt())
        self._executor.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            self._executor.__exit__(kind, error, traceback)

    def _recorded(self, tasks: Iterable[Task[Any, Any]], begun: _Begun) -> Iterator[Task[Any, Any]]:
        for task in tasks:
            self._executor.prepare()  # a model that kills is no case's fault
            key = self._key_of(task)
            if begun.times(key) >= _TRIES:
                yield self._aside(task, _killed())
            else:
                begun.begin(key)
                yield task


class _Begun:
    """How often cases were begun and have not ended, in a file that is there while any is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: dict[str, int] = {}
        self._now: str | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            said = json.loads(path.read_text(encoding="utf-8"))
            self._times = {str(key): int(times) for key, times in said.items()}

    def times(self, key: str) -> int:
        return self._times.get(key, 0)

    def begin(self, key: str) -> None:
        self._now = key
        self._times[key] = self.times(key) + 1
        self._write()

    def end(self) -> None:
        """The case under way has ended by itself."""
        if self._now is not None:
            self._times.pop(self._now, None)
            self._now = None
            self._write()

    def take_back(self) -> None:
        """The case under way was not begun, as far as blame goes."""
        if self._now is not None:
            self._times[self._now] -= 1
            self._now = None
            self._write()

    def forget(self) -> None:
        self._times.clear()
        self._write()

    def _write(self) -> None:
        self._times = {key: times for key, times in self._times.items() if times}
        temporary = self._path.with_name(part_name())
        try:
            if not self._times:
                self._path.unlink(missing_ok=True)
                return
            try:
                temporary.write_text(json.dumps(self._times), encoding="utf-8")
                os.replace(temporary, self._path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            if NoSpaceError.is_meant(error):
                raise NoSpaceError.at(self._path) from error
            raise OutputError(
                "a folder that can be written", f"{self._path} ({error.strerror})"
            ) from error


def _killed() -> PromptsegError:
    return PromptsegError(
        "a process that stays alive",
        "one that was killed twice while it did this case, most likely for lack of memory",
        "do this one alone, on a machine with more memory",
    )
