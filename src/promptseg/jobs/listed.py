"""A list of cases: the same verb for each row, by any number of processes and machines."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import time
from array import array
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from promptseg.datasets.case_list import Case, CaseList
from promptseg.errors import InputError, ModelError, OutputError, PromptError, PromptsegError
from promptseg.formats.outputs import Reads
from promptseg.jobs.batch import may_carry_prompts, output_name
from promptseg.jobs.image_unit import ImageUnit, Tools, tools_for
from promptseg.jobs.results_table import ResultsTable
from promptseg.jobs.segment import check_classes, prompts_of, single
from promptseg.models.cards import AUTO, model_file
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.runtime import set_threads
from promptseg.segment.options import SegmentJob
from promptseg.work import Executor, Inline, Processes, Shard, Tally, Unit, stream

__all__ = ["Listed", "segment_list"]

log = logging.getLogger("promptseg")

_MANY = ("box", "box3d", "point", "text")
_FILES = ("prompts", "mask", "markers")
_ONE_IMAGE = ("mask", "markers", "correct", "replay")
_NAMED = 5


@dataclass(frozen=True)
class Listed:
    """What came of a list of cases.

    Attributes:
        tally: how many were done already, now, and could not be.
        table: one line on each that was done or failed.
        failures: the first few that could not be done: image and error.
    """

    tally: Tally
    table: Path
    failures: list[tuple[str, PromptsegError]]


def segment_list(job: SegmentJob) -> Listed:
    """Segment every case of a list, or a share of them, into a folder.

    Cases whose results are there already, from the same input, prompts and options, are left alone. A
    case that fails, or kills its process twice, does not stop the others.

    Raises:
        PromptsegError: a list or a job that cannot be done at all; nothing has been written then.
    """
    for name in _ONE_IMAGE:
        if getattr(job, name) is not None:
            raise InputError(f"--{name} in a column of the list", "for all cases", "add the column")
    if job.model == AUTO:
        raise ModelError("a model by name for a list of cases", AUTO, "see promptseg models")
    if job.output.exists() and not job.output.is_dir():
        raise OutputError("a folder to write into", f"{job.output}: a file")
    shard = Shard.parse(job.shard)
    cases = CaseList(job.input)
    total, absent = _checked(cases, job)
    if absent:
        log.warning("%d of the %d images are not there", absent, total)
    table = ResultsTable(job.output / f"results{shard.suffix}.csv")
    tally = Tally()
    failures: list[tuple[str, PromptsegError]] = []
    asks = not is_semantic(job.model)
    units = (_unit(case, job, asks) for case in shard.of(cases))
    own = shard.size(total)
    with table.writing() as lines:
        for unit, result, error in stream(
            units, _executor(job), tally, title="cases", total=own, quiet=job.quiet
        ):
            lines.append(_line(unit, result, error))
            if error is not None and len(failures) < _NAMED:
                failures.append((unit.title, error))
    return Listed(tally, table.path, failures)


@dataclass(frozen=True)
class _CaseUnit(ImageUnit):
    """One row of a list; its prompts are read when its turn comes."""

    row: int = 0

    def do(self, context: Tools) -> dict[str, Any]:
        """Segment the image; returns the provenance's facts for the table."""
        begun = time.monotonic()
        inputs = [self.job.input, *(getattr(self.job, name) for name in _FILES)]
        reads = Reads([*inputs, *context.reads.paths])
        content = super().do(dataclasses.replace(context, reads=reads))
        found = content.get("objects") or []
        return {
            "objects": len(found),
            "low_confidence": sum(bool(one.get("low_confidence")) for one in found),
            "seconds": f"{time.monotonic() - begun:.2f}",
        }


@dataclass(frozen=True)
class _Refused(Unit[Tools, dict[str, Any]]):
    """A row that says nothing that could be done."""

    row: int
    image: str
    output: str
    error: PromptsegError

    @property
    def title(self) -> str:
        """The image."""
        return self.image

    def request(self) -> dict[str, Any]:
        """See `Unit`; nothing is ever done for it."""
        return {}

    def is_done(self) -> bool:
        """Never."""
        return False

    def do(self, context: Tools) -> dict[str, Any]:
        """Say what is wrong."""
        raise self.error


def _unit(case: Case, job: SegmentJob, asks: bool = True) -> _CaseUnit | _Refused:
    """What a row asks for; `asks`: the model answers prompts."""
    output = _output(case, job)
    try:
        said: dict[str, Any] = dict(case.options)
        for name in _MANY:
            if name in said:
                said[name] = tuple(part.strip() for part in said[name].split(";") if part.strip())
        for name in _FILES:
            if name in said:
                said[name] = Path(said[name])
        one = dataclasses.replace(job, **said, input=case.image, output=output)
        prompts = prompts_of(one, single(one.prompts) if one.prompts else None)
        check_classes(one, prompts)
        given = prompts or one.mask or one.markers or may_carry_prompts(case.image)
        if asks and not given:
            raise PromptError("prompts for the image", "none", "fill box, point, text or prompts")
        return _CaseUnit(one, prompts, str(case.image), case.row)
    except PromptsegError as error:
        return _Refused(case.row, str(case.image), str(output), error)


def _output(case: Case, job: SegmentJob) -> Path:
    """Where a case's mask goes: as the row says, or below the output folder as the images lie."""
    if case.output:
        return job.output / case.output
    root = job.input.parent
    name = output_name(case.image, job.suffix)
    inside = case.image.is_relative_to(root)
    return job.output / (case.image.relative_to(root).parent if inside else "") / name


def _checked(cases: CaseList, job: SegmentJob) -> tuple[int, int]:
    """Read the list once: how many cases there are, and how many images are not there.

    Raises:
        InputError, OutputError: an empty list, two cases with one output, or an output outside its
            folder or in the place of an input.
    """
    inputs, outputs, absent = array("Q"), array("Q"), 0
    below = os.path.join(os.path.abspath(job.output), "")
    for case in cases:
        output = _output(case, job)
        if case.output and not os.path.abspath(output).startswith(below):
            raise OutputError(
                f"outputs below {job.output}", f"{output} in row {case.row}", "correct the column"
            )
        inputs.append(_key(case.image))
        outputs.append(_key(output))
        absent += not os.path.exists(case.image)
    if not outputs:
        raise InputError("a list with cases", f"{cases.path} without any")
    keys, counts = np.unique(np.frombuffer(outputs, np.uint64), return_counts=True)
    twice = set(keys[counts > 1].tolist())
    read = set(np.intersect1d(keys, np.frombuffer(inputs, np.uint64)).tolist())
    if twice or read:
        raise _clash(cases, job, twice, read)
    return len(outputs), absent


def _clash(cases: CaseList, job: SegmentJob, twice: set[int], read: set[int]) -> OutputError:
    """Which cases have one output, or write over an image."""
    first: dict[int, Case] = {}
    for case in cases:
        output = _output(case, job)
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


def _executor(job: SegmentJob) -> Executor:
    reads = Reads([job.input, job.config, model_file(job.model)[1]])
    make = partial(tools_for, job, None, reads)
    if job.workers == 1:
        return Inline(make)
    share = max(1, set_threads(job.threads) // job.workers)
    return Processes(job.workers, partial(make, share))


def _line(unit: Any, result: dict[str, Any] | None, error: PromptsegError | None) -> dict[str, Any]:
    """What the table says of a case."""
    output = unit.job.output if isinstance(unit, ImageUnit) else unit.output
    about = {"row": unit.row, "image": unit.title, "output": str(output)}
    if error is not None:
        return {**about, "state": "failed", "error": str(error)}
    return {**about, "state": "done", **(result or {})}
