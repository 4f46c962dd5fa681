"""A job of many units: what is done already is left alone, the rest is done, failures are collected."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptseg.errors import PromptsegError
from promptseg.progress import step_progress
from promptseg.work.executors import Done, Executor
from promptseg.work.unit import Unit

__all__ = ["Failure", "Outcome", "Tally", "run", "stream"]


@dataclass(frozen=True)
class Failure:
    """A unit that could not be done.

    Attributes:
        unit: which.
        error: what is wrong with it.
    """

    unit: Unit[Any, Any]
    error: PromptsegError


@dataclass
class Outcome:
    """What came of a job.

    Attributes:
        skipped: units whose results were there already.
        results: what the others gave, in the order of the units.
        failures: units that could not be done, in the order of the units.
    """

    skipped: int = 0
    results: list[Any] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def run(
    units: Sequence[Unit[Any, Any]],
    executor: Callable[[Sequence[Unit[Any, Any]]], Executor],
    *,
    title: str,
    quiet: bool = False,
    keep_going: bool = True,
    on_failure: Callable[[Failure], None] | None = None,
) -> Outcome:
    """Do the units that are not done yet.

    Args:
        units: of the job, all of them.
        executor: makes who does those that wait; it is closed in the end.
        title: of the progress: what is counted.
        quiet: no progress.
        keep_going: whether a unit that fails leaves the others to be done.
        on_failure: called at once with each failure.

    Returns:
        How many were done already, what the others gave, what failed.

    Raises:
        PromptsegError: of the first unit that failed, unless `keep_going`.
    """
    place = {id(unit): k for k, unit in enumerate(units)}
    waiting = [unit for unit in units if not _is_done(unit)]
    outcome = Outcome(skipped=len(units) - len(waiting))
    if not waiting:
        return outcome
    results: dict[int, Any] = {}
    failures: dict[int, Failure] = {}
    total = sum(unit.weight for unit in units)
    done = total - sum(unit.weight for unit in waiting)
    with step_progress(title, total, quiet) as update, executor(waiting) as doing:
        update(done, "")
        for unit, result, error in doing.each(waiting):
            done += unit.weight
            update(done, unit.title)
            if error is None:
                results[place[id(unit)]] = result
                continue
            if not keep_going:
                raise error
            failure = failures[place[id(unit)]] = Failure(unit, error)
            if on_failure:
                on_failure(failure)
    outcome.results = [results[k] for k in sorted(results)]
    outcome.failures = [failures[k] for k in sorted(failures)]
    return outcome


@dataclass
class Tally:
    """How many units of a stream there are of each kind, so far.

    Attributes:
        skipped: whose results were there already.
        done: now.
        failed: units that could not be done.
    """

    skipped: int = 0
    done: int = 0
    failed: int = 0


def stream(
    units: Iterable[Unit[Any, Any]],
    executor: Executor,
    tally: Tally,
    *,
    title: str,
    total: int,
    quiet: bool = False,
) -> Generator[Done, None, None]:
    """Do units that are too many to be held, and give each back as soon as it is done or has failed.

    Args:
        units: of the job, made as they are asked for; those that are done already are passed over.
        executor: who does them; it is closed in the end.
        tally: is kept up to date.
        title: of the progress: what is counted.
        total: how many there are.
        quiet: no progress.
    """
    with step_progress(title, total, quiet) as update, executor as doing:

        def told(what: str) -> None:
            update(tally.skipped + tally.done + tally.failed, what)

        def waiting() -> Iterator[Unit[Any, Any]]:
            for unit in units:
                if _is_done(unit):
                    tally.skipped += 1
                    told("")
                else:
                    yield unit

        for unit, result, error in doing.each(waiting()):
            if error is None:
                tally.done += 1
            else:
                tally.failed += 1
            told(unit.title)
            yield unit, result, error


def _is_done(unit: Unit[Any, Any]) -> bool:
    try:
        return unit.is_done()
    except OSError:
        return False  # an input is gone: doing it says so
