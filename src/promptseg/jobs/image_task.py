"""One image of many: its job, whether it is done, and what a process needs to do it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from promptseg.assets import sha256_of
from promptseg.errors import PromptsegError
from promptseg.formats import format_for_output, read
from promptseg.formats.begun import Begun
from promptseg.formats.deidentify import discreet
from promptseg.formats.files import beside, overlay_path, read_provenance_beside
from promptseg.formats.outputs import Reads
from promptseg.image import Image
from promptseg.jobs.doers import engine_there, executor_of, is_elsewhere, weights_here
from promptseg.jobs.elsewhere import MODELS, from_folder, origin, watched
from promptseg.jobs.outputs import Computed
from promptseg.jobs.segment import (
    check_outputs,
    compute_job,
    load_for,
    prompts_in_labels,
    write_job,
)
from promptseg.jobs.stamps import mask_stamp, stamp
from promptseg.leftovers import clean
from promptseg.models.cards import model_file
from promptseg.models.choose import Choice
from promptseg.prompts import Prompt
from promptseg.segment.classes.segmenter import ClassSegmenter
from promptseg.segment.options import SegmentJob
from promptseg.segment.run import axis_of_run
from promptseg.segment.segmenter import Segmenter
from promptseg.work import Executor, Staged, as_json, request_hash
from promptseg.work.footprint import process_bytes, segmenting_bytes

__all__ = [
    "ImageTask",
    "ReadImage",
    "Tools",
    "executor_for_images",
    "given_weights",
    "tools_for",
]

_IRRELEVANT = {
    *("device", "threads", "engine", "batch", "embeddings", "embeddings_limit"),
    *("quiet", "json", "overwrite", "config", "workers", "shard", "cluster", "strict"),
}
_PATHS = {"input", "output"}


@dataclass(frozen=True)
class ImageTask(Staged["Tools", dict[str, Any], "ReadImage", Computed]):
    """One image of the folder: its job, and its prompts."""

    job: SegmentJob
    prompts: list[Prompt]
    title: str = ""
    """The image's path below the input folder."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Option -> SHA-256 of weights that are a file of the user's; see `given_weights`."""

    def memory(self) -> int:
        """Estimate the memory that the task takes; see `Task`."""
        return segmenting_bytes(self.job.input, self.job)

    def request(self) -> dict[str, Any]:
        """Return everything that the result depends on.

        Options may name the patient or the place of weights: a de-identified result keeps a hash.
        """
        said = self._said()
        return {"sha256": request_hash(said)} if self.job.deidentify else said

    def _said(self) -> dict[str, Any]:
        """The request in words; without paths, an input is still known by its size and time."""
        values = dataclasses.asdict(self.job)
        unsaid = _IRRELEVANT | (_PATHS if self.job.deidentify else set())
        said = {
            **{k: v for k, v in values.items() if k not in unsaid},
            "prompts": [repr(p) for p in self.prompts],
            "input_stat": stamp(self.job.input, self.job.output),
        }
        if self.weights:
            said["weights_sha256"] = dict(self.weights)
        for name in ("mask", "markers"):
            if (file := getattr(self.job, name)) is not None:
                said[f"{name}_stat"] = mask_stamp(file)
        if self.job.table is not None:
            with suppress(OSError, PromptsegError):  # reading it says what is wrong
                said["table_stat"] = stamp(self.job.table)
        request: dict[str, Any] = as_json(said)
        return request

    def is_done(self) -> bool:
        """Tell whether all results are there, from the very same request."""
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

    def hand_of(self, context: Tools) -> Reads:
        """Return the files that no output may replace."""
        return context.reads

    def read(self, hand: Reads) -> ReadImage:
        """Read the image, and the prompts that are drawn in label images."""
        begun = time.monotonic()
        job = self.job
        check_outputs(job, hand)
        with self._discreet():
            image = read(job.input, job, modality=job.modality)
            format_for_output(job.output, image)
            labels = prompts_in_labels(job, image, axis_of_run(self.prompts, job.axis))
        asked = self.request()
        return ReadImage(image, [*self.prompts, *labels], asked, time.monotonic() - begun)

    def compute(self, context: Tools, given: ReadImage) -> Computed:
        """Segment the image."""
        begun = time.monotonic()
        facts = {"request": given.request}
        with self._discreet(given.image):
            computed = compute_job(context.segmenter, given.image, given.prompts, self.job, facts)
        computed.result.image = None  # the writer has it
        return dataclasses.replace(computed, seconds=time.monotonic() - begun)

    def write(self, hand: Reads, given: ReadImage, computed: Computed) -> dict[str, Any]:
        """Write mask, overlay and provenance; return the provenance."""
        computed.result.image = given.image
        with self._discreet(given.image):
            outputs = write_job(computed, given.image, given.prompts, self.job)
        return outputs.provenance.to_json()

    def cached_result(self) -> dict[str, Any] | None:
        """Return the provenance of results that are there from the very same request; None without."""
        if self.job.overwrite or not self.is_done():
            return None
        return read_provenance_beside(self.job.output)

    def _discreet(self, image: Image | None = None) -> AbstractContextManager[None]:
        path = image.source.path if image else None
        return discreet(self.job.input, path, on=self.job.deidentify)


def given_weights(job: SegmentJob) -> dict[str, str]:
    """Return option -> SHA-256 of the weights that a job names by file or folder, read once.

    Those of a model by its name never change; those in a file do, when it is trained again into the
    same place. What cannot be read is left out: loading the model says so.

    Raises:
        ModelError: neither a known name nor a file.
    """
    found = {}
    for name in MODELS:
        asked = getattr(job, name)
        file = model_file(asked)[1] if asked is not None else None
        with suppress(OSError):
            if file is not None and file.exists():
                found[name] = sha256_of(file)
    return found


@dataclass(frozen=True)
class ReadImage:
    """An image with all of its prompts, what was asked for, and how long reading took."""

    image: Image
    prompts: list[Prompt]
    request: dict[str, Any]
    seconds: float = 0.0


@dataclass(frozen=True)
class Tools:
    """Tools of a process for every image: the model, and what no output may replace."""

    segmenter: Segmenter | ClassSegmenter
    reads: Reads


def tools_for(
    job: SegmentJob, choice: Choice | None, reads: Reads, threads: int | None = None
) -> Tools:
    """Load what a process needs for the images of a job.

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


def executor_for_images(
    job: SegmentJob, choice: Choice | None, reads: Reads, most: int | None = None
) -> Executor:
    """Build the executor for a job's images: this process, several, or the machines of a cluster.

    Args:
        job: as `tools_for`, with workers and cluster.
        choice: as `tools_for`.
        reads: what no output may replace.
        most: how many images there are, if that is known.
    """
    # nodes have an environment of their own
    there = dataclasses.replace(job, engine=engine_there(job.engine)) if is_elsewhere(job) else job
    folder = origin(job)
    executor = executor_of(
        job,
        partial(from_folder, folder, tools_for, there, choice, reads),
        threads=job.threads,
        most=most,
        make_hand=partial(from_folder, folder, _itself, reads),
        gpus=job.device in ("auto", "cuda"),
        look=partial(from_folder, folder, weights_here, job.model),
        context_bytes=process_bytes(job.model, job.engine),
    )
    return watched(executor, job)


def _itself(reads: Reads) -> Reads:
    return reads
