"""Lists of cases, as all verbs do them: all is looked at first, then each is done, by whoever works."""

from __future__ import annotations

import hashlib
import logging
import os
from array import array
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from promptseg.datasets.case_list import Case
from promptseg.datasets.case_sources import Cases
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats.location import address_in, shown, storage_in
from promptseg.jobs.killers import WithoutKillers
from promptseg.jobs.live_record import About, LiveRecord
from promptseg.jobs.results_table import FailedBefore
from promptseg.work import Executor, Inline, Shard, Tally, Task, stream

__all__ = ["ListVerb", "Listed", "RefusedCase", "checked", "do_list", "place_below"]

log = logging.getLogger("promptseg")

_UNDER_WAY = ".promptseg-under-way"


@dataclass(frozen=True)
class Listed:
    """Outcome of a list of cases.

    Attributes:
        tally: how many were done already, now, and could not be.
        table: one line on each that was done or failed.
        failures: the first few that could not be done: image and error.
    """

    tally: Tally
    table: Path
    failures: list[tuple[str, PromptsegError]]


class ListVerb(Protocol):
    """One verb, as it does the cases of a list.

    Attributes:
        output: folder of the results.
        quiet: no progress.
        columns: of the results table, that the verb adds.
    """

    output: Path
    quiet: bool
    columns: tuple[str, ...]

    def place(self, case: Case) -> Path | None:
        """Return the path of a case's result; None where several cases may share one."""

    def task(self, case: Case) -> Task[Any, Any]:
        """Make the task of a case; it has `row` and `place`, and gives what the table says."""

    def executor(self) -> Executor:
        """Build the executor that does the tasks."""


def do_list(cases: Cases, verb: ListVerb, shard: Shard) -> Listed:
    """Do every case of a list, or of a share of it.

    Cases whose results are there already, from the same input and options, are left alone. A case that
    fails, or kills its process twice, does not stop the others.

    Raises:
        NoSpaceError: no space is left for results; the same list goes on where it was.
        PromptsegError: a list that cannot be done at all; nothing has been written then.
    """
    total, absent = checked(cases, verb)
    if absent:
        log.warning("%d of the %d images are not there", absent, total)
    tally, own = Tally(), shard.size(total)
    record = LiveRecord(verb.output, shard, verb.columns, title=cases.name, total=own, tally=tally)
    tasks = (verb.task(case) for case in shard.of(cases))
    executor = _without_killers(verb.executor(), verb.output / f"{_UNDER_WAY}{shard.suffix}.json")
    done = stream(tasks, executor, tally, title="cases", total=own, quiet=verb.quiet)
    gone = _failed_and_gone(cases, verb)
    with record.writing(), closing(done):
        for line in gone.removed():
            record.note(line)
        for task, result, error in done:
            record.add(_about(task), result, error)
    return Listed(tally, record.table.path, record.failures)


def _without_killers(executor: Executor, record: Path) -> Executor:
    """An executor of this process alone keeps a record of what it begins; others see who dies."""

    def key_of(task: Any) -> str:
        about = _about(task)
        return f"{about.image} -> {about.output or about.row}"

    def aside(task: Any, error: PromptsegError) -> RefusedCase:
        return RefusedCase(task.row, task.title, task.place, error)

    if not isinstance(executor, Inline):
        return executor
    return WithoutKillers(executor, record, key_of, aside)


def _failed_and_gone(cases: Cases, verb: ListVerb) -> FailedBefore:
    """The cases that have failed once and are no longer in the list."""
    failed = FailedBefore(verb.output)
    for case in cases if failed else ():
        failed.strike(case.row, shown(case.image), str(verb.place(case) or ""))
    return failed


@dataclass(frozen=True)
class RefusedCase(Task[Any, dict[str, Any]]):
    """A row that says nothing that could be done."""

    row: int
    image: str
    place: Path | None
    error: PromptsegError

    @property
    def title(self) -> str:
        """Return the image, by which the case is called."""
        return self.image

    def request(self) -> dict[str, Any]:
        """Return an empty request: nothing is ever done for the case."""
        return {}

    def is_done(self) -> bool:
        """Return False: such a case is never done."""
        return False

    def do(self, context: Any) -> dict[str, Any]:
        """Say what is wrong."""
        raise self.error


def place_below(output: Path, root: Path, case: Case, name: Callable[[Path], str]) -> Path:
    """Return the path of a case's result: as its row says, or below the output as the inputs lie.

    The result of an input that is not below their folder lies at the top of the output.

    Args:
        output: folder of the results.
        root: folder of the inputs.
        case: the row.
        name: name of the result, made of the input's.
    """
    if case.output:
        return output / case.output
    image, top = (Path(os.path.abspath(path)) for path in (case.image, root))  # without any `..`
    inside = image.is_relative_to(top)
    return output / (image.relative_to(top).parent if inside else "") / name(case.image)


def checked(cases: Cases, verb: ListVerb) -> tuple[int, int]:
    """Read the list once: how many cases there are, and how many images are not there.

    Images in storage and on servers are not looked for.

    Raises:
        InputError, OutputError: an empty list, two cases with one output, or an output outside its
            folder or in the place of an input.
    """
    inputs, outputs, total, absent = array("Q"), array("Q"), 0, 0
    below = os.path.join(os.path.abspath(verb.output), "")
    for case in cases:
        total += 1
        absent += _is_absent(case.image)
        place = verb.place(case)
        if place is None:
            continue
        if not os.path.abspath(place).startswith(below):
            raise OutputError(
                f"outputs below {verb.output}",
                f"{place} in row {case.row}",
                "correct the column `output`",
            )
        inputs.append(_key(case.image))
        outputs.append(_key(place))
    if not total:
        raise InputError("a list with cases", f"{cases.name} without any")
    keys, counts = np.unique(np.frombuffer(outputs, np.uint64), return_counts=True)
    twice = set(keys[counts > 1].tolist())
    read = set(np.intersect1d(keys, np.frombuffer(inputs, np.uint64)).tolist())
    if twice or read:
        raise _clash(cases, verb, twice, read)
    return total, absent


def _is_absent(path: Path) -> bool:
    if os.path.exists(path):
        return False
    return storage_in(path) is None and address_in(path) is None


def _clash(cases: Cases, verb: ListVerb, twice: set[int], read: set[int]) -> OutputError:
    """Which cases have one output, or write over an image."""
    first: dict[int, Case] = {}
    for case in cases:
        output = verb.place(case)
        assert output is not None
        key = _key(output)
        if key in read:
            return OutputError(
                "outputs that are not inputs too", f"{output} in row {case.row}", "name another one"
            )
        if key in twice and key in first:
            rows = f"{output} for rows {first[key].row} and {case.row}"
            return OutputError("outputs with names of their own", rows, "add a column `output`")
        first.setdefault(key, case)
    raise AssertionError("a clash that is gone at the second reading")


def _key(path: Path) -> int:
    """8 bytes that stand for a path, whatever the case of its letters."""
    text = os.path.abspath(path).casefold().encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _about(task: Any) -> About:
    return About(task.row, task.title, str(task.place or ""))
