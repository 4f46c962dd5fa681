"""A job of many tasks: what is done already is left alone, the rest is done, failures are collected."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptseg.errors import NoSpaceError, PromptsegError
from promptseg.progress import step_progress
from promptseg.work.executors import Done, Executor
from promptseg.work.task import Task

__all__ = ["Failure", "Outcome", "Tally", "run", "stream"]


@dataclass(frozen=True)
class Failure:
    """A task that could not be done.

    Attributes:
        task: which.
        error: what is wrong with it.
    """

    task: Task[Any, Any]
    error: PromptsegError


@dataclass
class Outcome:
    """The result of a job.

    Attributes:
        skipped: tasks whose results were there already.
        results: what the others gave, in the order of the tasks.
        failures: tasks that could not be done, in the order of the tasks.
    """

    skipped: int = 0
    results: list[Any] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass
class Tally:
    """The number of tasks of a stream so far, by what became of them.

    Attributes:
        skipped: whose results were there already.
        done: now.
        failed: tasks that could not be done.
    """

    skipped: int = 0
    done: int = 0
    failed: int = 0


def run(
    tasks: Sequence[Task[Any, Any]],
    executor: Callable[[Sequence[Task[Any, Any]]], Executor],
    *,
    title: str,
    quiet: bool = False,
    keep_going: bool = True,
    tally: Tally | None = None,
    on_end: Callable[[Task[Any, Any], Any, PromptsegError | None], None] | None = None,
) -> Outcome:
    """Do the tasks that are not done yet.

    Args:
        tasks: of the job, all of them.
        executor: makes who does those that wait; it is closed in the end.
        title: of the progress: what is counted.
        quiet: no progress.
        keep_going: whether a task that fails leaves the others to be done.
        tally: is kept up to date, if given.
        on_end: called as each ends: with the task, its result, and what is wrong with it (the result
            is None then).

    Returns:
        How many were done already, what the others gave, what failed.

    Raises:
        PromptsegError: of the first task that failed, unless `keep_going`.
        NoSpaceError: there is no space for results, which the next ones would find too.
    """
    place = {id(task): k for k, task in enumerate(tasks)}
    waiting = [task for task in tasks if not _is_done(task)]
    outcome = Outcome(skipped=len(tasks) - len(waiting))
    tally = tally or Tally()
    tally.skipped += outcome.skipped
    if not waiting:
        return outcome
    results: dict[int, Any] = {}
    failures: dict[int, Failure] = {}
    total = sum(task.weight for task in tasks)
    done = total - sum(task.weight for task in waiting)
    with step_progress(title, total, quiet) as update, executor(waiting) as doing:
        update(done, "")
        for task, result, error in doing.each(waiting):
            done += task.weight
            update(done, task.title)
            if error is None:
                results[place[id(task)]] = result
                tally.done += 1
            else:
                failures[place[id(task)]] = Failure(task, error)
                tally.failed += 1
            if on_end and not isinstance(error, NoSpaceError):  # no table would take it either
                on_end(task, result, error)
            if error is not None and (not keep_going or isinstance(error, NoSpaceError)):
                raise error
    outcome.results = [results[k] for k in sorted(results)]
    outcome.failures = [failures[k] for k in sorted(failures)]
    return outcome


def stream(
    tasks: Iterable[Task[Any, Any]],
    executor: Executor,
    tally: Tally,
    *,
    title: str,
    total: int,
    quiet: bool = False,
) -> Generator[Done, None, None]:
    """Do tasks that are too many to be held, and give each back as soon as it is done or has failed.

    Args:
        tasks: of the job, made as they are asked for; those that are done already are passed over.
        executor: who does them; it is closed in the end.
        tally: is kept up to date.
        title: of the progress: what is counted.
        total: how many there are.
        quiet: no progress.

    Raises:
        NoSpaceError: there is no space for results, which the next ones would find too.
    """
    with step_progress(title, total, quiet) as update, executor as doing:

        def told(what: str) -> None:
            update(tally.skipped + tally.done + tally.failed, what)

        def waiting() -> Iterator[Task[Any, Any]]:
            for task in tasks:
                if _is_done(task):
                    tally.skipped += 1
                    told("")
                else:
                    yield task

        for task, result, error in doing.each(waiting()):
            if isinstance(error, NoSpaceError):
                raise error
            if error is None:
                tally.done += 1
            else:
                tally.failed += 1
            told(task.title)
            yield task, result, error


def _is_done(task: Task[Any, Any]) -> bool:
    try:
        return task.is_done()
    except (OSError, PromptsegError):
        return False  # an input is gone, or its storage: doing it says so
