"""Many masks converted: a folder of mask files, or a list with a mask in each row."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from promptseg.datasets.case_list import Case, Columns
from promptseg.datasets.case_sources import Cases, is_many, local_folder, open_cases
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats import endings, format_by_suffix
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.location import address_in
from promptseg.jobs.convert import ConvertJob, convert
from promptseg.jobs.elsewhere import executor_of_files, watched
from promptseg.jobs.lists import Listed, RefusedCase, do_list, place_below
from promptseg.jobs.stamps import mask_stamp, stamp
from promptseg.work import Executor, Shard, Task, as_json, request_hash
from promptseg.work.footprint import converting_bytes

__all__ = ["convert_list", "is_many_masks"]

_COLUMNS = Columns("mask", paths=("reference",), words=("output", "segments"))
_FEW = 64
_IRRELEVANT = {"overwrite", "json", "quiet", "suffix", "workers", "shard", "cluster"}


def is_many_masks(job: ConvertJob) -> bool:
    """Tell whether a job is for a list of masks, or for a folder of mask files into a folder.

    A folder with a DICOM SEG or RTSTRUCT in it is one mask where one file is to be written.
    """
    if is_many(job.input):
        return True
    known = format_by_suffix(job.output)
    return os.path.isdir(job.input) and (known is None or job.output.is_dir())


def convert_list(job: ConvertJob) -> Listed:
    """Convert every mask; `results.csv` says what became of each.

    Masks that were converted already, from the same file and options, are left alone.

    Raises:
        PromptsegError: a list or a job that cannot be done at all; nothing has been written then.
    """
    shard = Shard.parse(job.shard)
    verb = _Converting(job)
    return do_list(verb.cases, verb, shard)


class _Converting:
    """How each mask of a list is converted; a `ListVerb`."""

    columns: tuple[str, ...] = ("objects",)

    def __init__(self, job: ConvertJob) -> None:
        if job.output.exists() and not job.output.is_dir():
            raise OutputError("a folder to write into", f"{job.output}: a file")
        if job.suffix is not None:
            chosen = format_by_suffix(Path("mask" + _dotted(job.suffix)))
            if chosen is None or not chosen.writes:
                able = ", ".join(endings())
                raise OutputError(f"a suffix out of {able}", job.suffix, "correct --suffix")
        self.job, self.output, self.quiet = job, job.output, job.quiet
        self._stamps = lru_cache(_FEW)(_stamps)  # many masks may have one reference
        of_folder = os.path.isdir(job.input)
        if of_folder and job.output.exists() and job.output.samefile(job.input):
            raise OutputError(
                "an output folder other than the input folder", str(job.output), "name another one"
            )
        self.cases: Cases = (
            local_folder(job.input, job.output) if of_folder else open_cases(job.input, _COLUMNS)
        )

    def place(self, case: Case) -> Path:
        """See `ListVerb`."""
        return place_below(self.output, self.cases.root, case, self._name)

    def task(self, case: Case) -> _MaskTask | RefusedCase:
        """See `ListVerb`."""
        place = self.place(case)
        said: dict[str, Any] = dict(case.options)
        if "reference" in said:
            said["reference"] = Path(said["reference"])
        try:
            one = dataclasses.replace(self.job, **said, input=case.image, output=place, quiet=True)
        except PromptsegError as error:
            return RefusedCase(case.row, str(case.image), place, error)
        return _MaskTask(one, case.row, self._stamps(one.reference, one.table))

    def executor(self) -> Executor:
        """See `ListVerb`."""
        return watched(executor_of_files(self.job), self.job)

    def _name(self, mask: Path) -> str:
        if self.job.suffix is None:
            raise InputError("--suffix, or a column `output`", "neither", "say the new ending")
        chosen = format_by_suffix(mask)
        name = mask.name
        ending = (
            next((s for s in chosen.suffixes if name.lower().endswith(s)), "") if chosen else ""
        )
        return name[: len(name) - len(ending)] + _dotted(self.job.suffix)


@dataclass(frozen=True)
class _MaskTask(Task[None, dict[str, Any]]):
    """One mask of many."""

    job: ConvertJob
    row: int
    stamps: Mapping[str, Any] = field(default_factory=dict)
    """What is known of reference and table beside their paths."""

    @property
    def title(self) -> str:
        """The mask."""
        return str(self.job.input)

    @property
    def place(self) -> Path:
        """Where it goes."""
        return self.job.output

    def memory(self) -> int:
        """Estimate the memory that the task takes; see `Task`."""
        return converting_bytes(self.job.input)

    def request(self) -> dict[str, Any]:
        """The options, and which files they are; a hash of it where nobody is to be named."""
        values = dataclasses.asdict(self.job)
        said = {k: v for k, v in values.items() if k not in _IRRELEVANT}
        files = {"mask_stat": mask_stamp(self.job.input), **self.stamps}
        found: dict[str, Any] = as_json({**said, **files})
        return {"sha256": request_hash(found)} if self.job.deidentify else found

    def is_done(self) -> bool:
        """Whether the result is there, from the very same request."""
        if self.job.overwrite or not self.job.output.exists():
            return False
        return read_provenance_beside(self.job.output).get("request") == self.request()

    def do(self, context: None) -> dict[str, Any]:
        """Convert it; returns what the table says."""
        begun = time.monotonic()
        try:
            asked = self.request()
        except OSError as error:
            raise InputError(
                "a mask file", f"{self.job.input} ({error.strerror})", "correct the list"
            ) from None
        result = convert(self.job, asked)
        seconds = time.monotonic() - begun
        return {"objects": len(result.segments), "seconds": seconds, "request": asked}


def _stamps(reference: Path | None, table: Path | None) -> dict[str, Any]:
    """What changes with the content of reference and table, where they are; of a folder, a hash."""
    found: dict[str, Any] = {}
    for name, path in (("reference", reference), ("table", table)):
        if path is None or address_in(path) is not None:
            continue
        with suppress(OSError, PromptsegError):  # converting says what is wrong with it
            found[f"{name}_stat"] = stamp(path)
    return found


def _dotted(suffix: str) -> str:
    return "." + suffix.lstrip(".")
