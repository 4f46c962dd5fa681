"""One image of many: its job, whether it is done, and what a process needs to do it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from promptseg.formats import format_for_output, read
from promptseg.formats.begun import Begun
from promptseg.formats.files import beside, overlay_path, read_provenance_beside
from promptseg.formats.outputs import Reads
from promptseg.jobs.segment import check_outputs, load_for, prompts_in_labels, run_job
from promptseg.leftovers import clean
from promptseg.models.choose import Choice
from promptseg.prompts import Prompt
from promptseg.segment.classes.segmenter import ClassSegmenter
from promptseg.segment.options import SegmentJob
from promptseg.segment.run import axis_of_run
from promptseg.segment.segmenter import Segmenter
from promptseg.work import Unit, as_json, request_hash

__all__ = ["ImageUnit", "Tools", "tools_for"]

_IRRELEVANT = {
    *("device", "threads", "engine", "batch", "embeddings", "embeddings_limit"),
    *("quiet", "json", "overwrite", "config", "workers", "shard", "strict"),
}
_PATHS = {"input", "output"}


@dataclass(frozen=True)
class ImageUnit(Unit["Tools", dict[str, Any]]):
    """One image of the folder: its job, and its prompts."""

    job: SegmentJob
    prompts: list[Prompt]
    title: str = ""
    """The image's path below the input folder."""

    def request(self) -> dict[str, Any]:
        """What the result depends on.

        Options may name the patient or the place of weights: a de-identified result keeps a hash.
        """
        said = self._said()
        return {"sha256": request_hash(said)} if self.job.deidentify else said

    def _said(self) -> dict[str, Any]:
        """The request in words; without paths, an input is still known by its size and time."""
        values = dataclasses.asdict(self.job)
        unsaid = _IRRELEVANT | (_PATHS if self.job.deidentify else set())
        stat = self.job.input.stat()
        said = {
            **{k: v for k, v in values.items() if k not in unsaid},
            "prompts": [repr(p) for p in self.prompts],
            "input_stat": [stat.st_size, stat.st_mtime_ns],
        }
        for name in ("mask", "markers"):
            if (file := getattr(self.job, name)) is not None:
                there = file.stat()
                said[f"{name}_stat"] = [there.st_size, there.st_mtime_ns]
        request: dict[str, Any] = as_json(said)
        return request

    def is_done(self) -> bool:
        """Whether all results are there, from the very same request."""
        output = self.job.output
        overlays = (overlay_path(output), beside(output, ".overlay.png"))  # now, and once
        if self.job.overwrite or not output.exists():
            return False
        if self.job.overlay and not any(path.exists() for path in overlays):
            return False
        Begun([output])  # takes away the mark of a run that was killed when all was there
        clean(output.parent)
        earlier = read_provenance_beside(output).get("request")
        return earlier in (self.request(), self._said())  # the latter by versions before

    def do(self, context: Tools) -> dict[str, Any]:
        """Segment the image; returns the provenance."""
        job = self.job
        check_outputs(job, context.reads)
        image = read(job.input, job, modality=job.modality)
        format_for_output(job.output, image)
        facts = {"request": self.request()}
        labels = prompts_in_labels(job, image, axis_of_run(self.prompts, job.axis))
        outputs = run_job(context.segmenter, image, [*self.prompts, *labels], job, facts)
        return outputs.provenance.to_json()


@dataclass(frozen=True)
class Tools:
    """What a process needs for every image: the model, and what no output may replace."""

    segmenter: Segmenter | ClassSegmenter
    reads: Reads


def tools_for(
    job: SegmentJob, choice: Choice | None, reads: Reads, threads: int | None = None
) -> Tools:
    """What a process needs for the images of a job.

    Args:
        job: whose model and engine are taken.
        choice: of the model, where it was chosen.
        reads: what no output may replace.
        threads: the process's share of them; all that the job allows if None.
    """
    segmenter = load_for(job if threads is None else dataclasses.replace(job, threads=threads))
    if isinstance(segmenter, Segmenter):
        segmenter.predictor.choice = choice
    return Tools(segmenter, reads)
