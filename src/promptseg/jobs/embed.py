"""Encoding ahead of time: every slice of an image, or of a folder of images, into a folder."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from promptseg.datasets.case_list import Case, Columns
from promptseg.datasets.case_sources import open_cases
from promptseg.errors import OutputError, PromptsegError
from promptseg.formats import read
from promptseg.formats.location import shown
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.inference.shared import SharedBatches
from promptseg.jobs.batch import find_images
from promptseg.jobs.doers import (
    engine_there,
    executor_of,
    is_elsewhere,
    require_many,
    weights_here,
)
from promptseg.jobs.elsewhere import from_folder, origin, watched
from promptseg.jobs.lists import Listed, RefusedCase, do_list
from promptseg.models.cards import model_file
from promptseg.progress import step_progress
from promptseg.segment.options import EmbedJob, parse_slices
from promptseg.segment.segmenter import Segmenter, load
from promptseg.work import Executor, Inline, Shard, Task, Threads, run
from promptseg.work.footprint import encoding_bytes, process_bytes

__all__ = ["Embedded", "embed_images", "embed_list"]

log = logging.getLogger("promptseg")


@dataclass(frozen=True)
class Embedded:
    """Outcome of encoding ahead of time.

    Attributes:
        images: that are done.
        slices: of these images.
        encoded: slices that had to be encoded now.
        failures: image and error of those that could not be.
    """

    images: int
    slices: int
    encoded: int
    failures: list[tuple[str, PromptsegError]]


@dataclass(frozen=True)
class _ImageTask(Task[Segmenter, dict[str, Any]]):
    """The slices of one image; which of them are done, the store knows by their content."""

    path: Path
    job: EmbedJob
    number: str = ""

    @property
    def title(self) -> str:
        """The image's name."""
        return self.path.name

    def request(self) -> dict[str, Any]:
        """The image and how it is encoded."""
        return {"image": str(self.path), **dataclasses.asdict(self.job)}

    def is_done(self) -> bool:
        """Never known before the image is read."""
        return False

    def do(self, context: Segmenter) -> dict[str, Any]:
        """Encode what is not there yet; returns the slices, how many had to be encoded, and a file."""
        predictor: Any = context.predictor
        with predictor.at_work() if isinstance(predictor, SharedBatches) else nullcontext():
            return self._encoded(context)

    def memory(self) -> int:
        """Estimate the memory that the task takes; see `Task`."""
        return encoding_bytes(self.path, self.job, self.job.batch)

    def _encoded(self, context: Segmenter) -> dict[str, Any]:
        job, predictor = self.job, context.predictor
        image = read(self.path, job, modality=job.modality)
        intensity = context.intensity(image, job)
        for note in (*image.source.notes, *intensity.notes()):
            log.warning("%s: %s", image.name, note)
        batch = job.batch or predictor.batch
        assert context.embeddings is not None, "of the job, from `_loaded`"
        store = context.embeddings.of_next_image()
        stack = EmbeddedImage(
            image, job.axis or "z", intensity, predictor, batch, cache_bytes=0, store=store
        )
        first, last = parse_slices(job.slices, len(stack))
        title = f"{self.number}slices"
        with step_progress(title, last - first + 1, job.quiet) as update:
            for done, index in enumerate(range(first, last + 1), start=1):
                stack.embedding(index, last)
                update(done, f"({image.name})")
        store.check()
        kept = store.last.name if store.last else None
        return {"slices": last - first + 1, "encoded": stack.encoded, "kept": kept}


_COLUMNS = Columns(words=("modality", "window", "axis", "slices"))


@dataclass(frozen=True)
class _CaseTask(_ImageTask):
    """One row of a list."""

    row: int = 0
    place: Path | None = None

    @property
    def title(self) -> str:
        """The image, as the list has it."""
        return shown(self.path)

    def do(self, context: Segmenter) -> dict[str, Any]:
        """Encode what is not there yet; returns what the table says."""
        begun = time.monotonic()
        found = super().do(context)
        return {**found, "seconds": time.monotonic() - begun}


class _Embedding:
    """How each case of a list is encoded; a `ListVerb`."""

    columns: tuple[str, ...] = ("slices", "encoded")

    def __init__(self, job: EmbedJob, since: float) -> None:
        self.job, self.output, self.quiet, self._since = job, job.output, job.quiet, since
        self.cases = open_cases(job.input, _COLUMNS)

    def place(self, case: Case) -> None:
        """Embeddings are found by the content of the image."""

    def task(self, case: Case) -> _CaseTask | RefusedCase:
        """See `ListVerb`."""
        try:
            options: dict[str, Any] = dict(case.options)
            one = dataclasses.replace(self.job, **options, input=case.image, quiet=True)
        except PromptsegError as error:
            return RefusedCase(case.row, shown(case.image), None, error)
        return _CaseTask(case.image, one, row=case.row)

    def executor(self) -> Executor:
        """See `ListVerb`."""
        return _executor(self.job, self._since)


def embed_list(job: EmbedJob) -> Listed:
    """Encode the images of a list, or of a share of it; `results.csv` says what became of each.

    Raises:
        NoSpaceError: the disk is full, or the folder's limit is too low for all embeddings.
        OutputError: embeddings of other machines are not seen here.
        PromptsegError: a list or a job that cannot be done at all.
    """
    since = time.time()
    shard = Shard.parse(job.shard)
    EmbeddingStore(job.output, job.embeddings_limit)
    verb = _Embedding(job, since)
    return do_list(verb.cases, verb, shard)


def _executor(job: EmbedJob, since: float, most: int | None = None) -> Executor:
    """Who encodes: this process, several of them, or the machines of a cluster.

    Args:
        job: what and how.
        since: when it began.
        most: how many images there are, if that is known.
    """
    there = dataclasses.replace(job, engine=engine_there(job.engine)) if is_elsewhere(job) else job
    folder = origin(job)
    executor = executor_of(
        job,
        partial(from_folder, folder, _loaded, there, since),
        threads=job.threads,
        most=most,
        gpus=job.device in ("auto", "cuda"),
        look=partial(from_folder, folder, weights_here, job.model),
        inline=partial(_alone, job, since, most),
        context_bytes=process_bytes(job.model, job.engine),
    )
    return watched(executor, job, _is_kept)


def _is_kept(task: _ImageTask, result: Any) -> bool:
    """Whether the embedding that was kept last, maybe by another machine, is seen here."""
    kept: str | None = result["kept"]
    return kept is None or (task.job.output / kept).exists()


def _alone(job: EmbedJob, since: float, most: int | None) -> Executor:
    """This process: where a device gains by larger batches, several images at a time share them."""
    segmenter = _loaded(job, since)
    batch = job.batch or segmenter.predictor.batch
    together = 2 * batch if most is None else min(2 * batch, most)
    if batch == 1 or together == 1:
        return Inline(lambda: segmenter)
    predictor = cast(Predictor, SharedBatches(segmenter.predictor, batch))
    shared = Segmenter(predictor, segmenter.embeddings)
    return Threads(together, lambda: shared)


def _loaded(job: EmbedJob, since: float, threads: int | None = None) -> Segmenter:
    """The model, with a store that all images of the process share."""
    segmenter = load(
        job.model,
        device=job.device,
        threads=threads or job.threads,
        engine=job.engine,
        quiet=job.quiet,
        modality=job.modality,
    )
    store = EmbeddingStore(job.output, job.embeddings_limit, since)
    return dataclasses.replace(segmenter, embeddings=store)


def embed_images(job: EmbedJob) -> Embedded:
    """Encode what the job names and keep the embeddings.

    Slices whose embeddings are there already, whole and from the same pixels and model, are left
    alone. An image that fails does not stop the others.

    Raises:
        ModelError: unknown model or unusable checkpoint.
        OutputError: the folder cannot be written, or embeddings of other machines are not seen here.
        NoSpaceError: the disk is full, or the folder's limit is too low for all embeddings.
    """
    since = time.time()
    EmbeddingStore(job.output, job.embeddings_limit)
    reads = Reads([job.input, model_file(job.model)[1]])
    check_outputs([job.output / "embedding"], overwrite=True, reads=reads)
    in_folder = os.path.isdir(job.input)
    if in_folder and job.output.exists() and job.output.samefile(job.input):
        raise OutputError(
            "an output folder other than the input folder", str(job.output), "name another one"
        )
    found = find_images(job.input) if in_folder else []
    if not found:
        require_many(job, "a folder or list")
    images = list(Shard.parse(job.shard).of(found)) if found else [job.input]
    if not images:  # of more shares than images
        return Embedded(0, 0, 0, [])
    several = len(images) > 1
    executor = _executor(job, since, len(images))
    apart = not isinstance(executor, Inline)
    own = dataclasses.replace(job, quiet=True) if apart else job  # one progress for all of them
    tasks = [
        _ImageTask(path, own, f"image {k} of {len(images)}: " if several else "")
        for k, path in enumerate(images, start=1)
    ]
    outcome = run(tasks, lambda _: executor, title="images", quiet=job.quiet or not apart)
    return Embedded(
        len(outcome.results),
        sum(found["slices"] for found in outcome.results),
        sum(found["encoded"] for found in outcome.results),
        [(failure.task.title, failure.error) for failure in outcome.failures],
    )
