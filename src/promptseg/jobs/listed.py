"""A list of cases to segment: the same verb for each row, by any number of processes and machines."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from promptseg.datasets.case_list import SEGMENTING, Case
from promptseg.datasets.case_sources import Cases, open_cases
from promptseg.errors import InputError, ModelError, OutputError, PromptError, PromptsegError
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.location import shown
from promptseg.formats.outputs import Reads
from promptseg.jobs.batch import may_carry_prompts, output_name
from promptseg.jobs.image_task import ImageTask, ReadImage, executor_for_images, given_weights
from promptseg.jobs.lists import Listed, RefusedCase, do_list, place_below
from promptseg.jobs.measurements import measurements_of, require_ours, write_measurements
from promptseg.jobs.outputs import Computed
from promptseg.jobs.segment import check_classes, prompts_of, single
from promptseg.models.cards import AUTO, model_file
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.segment.options import SegmentJob
from promptseg.work import Executor, Shard

__all__ = ["Segmenting", "segment_list"]

_MANY = ("box", "box3d", "point", "text")
_FILES = ("prompts", "mask", "markers")
_ONE_IMAGE = ("mask", "markers", "correct", "replay")


def segment_list(job: SegmentJob) -> Listed:
    """Segment every case of a list, or a share of them, into a folder.

    Cases whose results are there already, from the same input, prompts and options, are left alone. A
    case that fails, or kills its process twice, does not stop the others. In the end the sizes of all
    objects whose masks are there go into `measurements.csv`, in the order of the list.

    Raises:
        OutputError: masks of other machines are not seen here; the same job goes on.
        PromptsegError: a list or a job that cannot be done at all; nothing has been written then.
    """
    shard = Shard.parse(job.shard)
    verb = Segmenting(job)
    table = measurements_of(verb.output, shard)
    require_ours(table)
    listed = do_list(verb.cases, verb, shard)
    # also where nothing was left to do: a kill may have left an earlier table
    write_measurements(table, verb.measured(shard))
    return listed


class Segmenting:
    """Segmentation of the cases of a list; a `ListVerb`.

    Args:
        job: what is alike for all cases.

    Raises:
        PromptsegError: it is not for a list, or the list cannot be read.

    Attributes:
        cases: of the list.
    """

    columns: tuple[str, ...] = ("objects", "low_confidence")

    def __init__(self, job: SegmentJob) -> None:
        for name in _ONE_IMAGE:
            if getattr(job, name) is not None:
                raise InputError(
                    f"--{name} in a column of the list", "for all cases", "add the column"
                )
        if job.model == AUTO:
            raise ModelError("a model by name for a list of cases", AUTO, "see promptseg models")
        if job.output.exists() and not job.output.is_dir():
            raise OutputError("a folder to write into", f"{job.output}: a file")
        self.job, self.output, self.quiet = job, job.output, job.quiet
        self.cases: Cases = open_cases(job.input, SEGMENTING)
        self._of_classes = is_semantic(job.model)
        self._weights = given_weights(job)

    def place(self, case: Case) -> Path:
        """See `ListVerb`."""
        name = partial(output_name, suffix=self.job.suffix)
        return place_below(self.output, self.cases.root, case, name)

    def measured(self, shard: Shard) -> Iterator[tuple[str, Path, dict[str, Any]]]:
        """Yield image, mask and provenance of every case of a share whose mask is there."""
        for case in shard.of(self.cases):
            place = self.place(case)
            if place.exists():
                yield shown(case.image), place, read_provenance_beside(place)

    def task(self, case: Case) -> CaseTask | RefusedCase:
        """See `ListVerb`."""
        output = self.place(case)
        try:
            said: dict[str, Any] = dict(case.options)
            for name in _MANY:
                if name in said:
                    parts = (part.strip() for part in said[name].split(";"))
                    said[name] = tuple(filter(None, parts))
            for name in _FILES:
                if name in said:
                    said[name] = Path(said[name])
            one = dataclasses.replace(self.job, **said, input=case.image, output=output)
            prompts = prompts_of(one, single(one.prompts) if one.prompts else None)
            check_classes(one, prompts, self._of_classes)
            given = prompts or one.mask or one.markers or may_carry_prompts(case.image)
            if not self._of_classes and not given:
                raise PromptError(
                    "prompts for the image", "none", "fill box, point, text or prompts"
                )
            return CaseTask(one, prompts, shown(case.image), self._weights, case.row)
        except PromptsegError as error:
            return RefusedCase(case.row, shown(case.image), output, error)

    def executor(self) -> Executor:
        """See `ListVerb`."""
        job = self.job
        reads = Reads([job.input, job.config, model_file(job.model)[1]])
        return executor_for_images(job, None, reads)


@dataclass(frozen=True)
class CaseTask(ImageTask):
    """One row of a list; its prompts are read when its turn comes."""

    row: int = 0

    @property
    def place(self) -> Path:
        """Return the path that the mask goes to."""
        return self.job.output

    def read(self, hand: Reads) -> ReadImage:
        """Read as `ImageTask` does; no output may replace the case's own inputs either."""
        inputs = [self.job.input, *(getattr(self.job, name) for name in _FILES)]
        return super().read(Reads([*inputs, *hand.paths]))

    def write(self, hand: Reads, given: ReadImage, computed: Computed) -> dict[str, Any]:
        """Write the results; returns what the table says of them."""
        begun = time.monotonic()
        facts = _facts(super().write(hand, given, computed))
        return {**facts, "seconds": given.seconds + computed.seconds + time.monotonic() - begun}

    def cached_result(self) -> dict[str, Any] | None:
        """Return what the table says of results that are there already; not how long they took."""
        content = super().cached_result()
        return None if content is None else _facts(content)


def _facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    found = provenance.get("objects") or []
    return {
        "request": provenance.get("request"),
        "objects": len(found),
        "low_confidence": sum(bool(one.get("low_confidence")) for one in found),
    }
