"""Encoding ahead of time: every slice of an image, or of a folder of images, into a folder."""

from __future__ import annotations

import logging
import os
import sys

from promptseg.errors import OutputError, PromptsegError
from promptseg.formats import read
from promptseg.formats.files import check_output
from promptseg.image import Image
from promptseg.inference.embeddings import EmbeddingStore
from promptseg.inference.stack import SliceStack
from promptseg.jobs.batch import find_images
from promptseg.progress import step_progress
from promptseg.segment.options import EmbedJob, parse_slices
from promptseg.segment.segmenter import Segmenter, load

__all__ = ["embed_images"]

log = logging.getLogger("promptseg")


def embed_images(job: EmbedJob) -> int:
    """Encode what the job names and keep the embeddings.

    Slices whose embeddings are there already, whole and from the same pixels and model, are left
    alone. An image that fails does not stop the others.

    Returns:
        0 if every image is done, 2 if some could not be.

    Raises:
        ModelError: unknown model or unusable checkpoint.
        OutputError: the folder cannot be written, or its limit is too low for all embeddings.
    """
    store = EmbeddingStore(job.output, job.embeddings_limit)
    check_output(job.output / "embedding", overwrite=True)
    in_folder = os.path.isdir(job.input)
    if in_folder and job.output.exists() and job.output.samefile(job.input):
        raise OutputError(
            "an output folder other than the input folder", str(job.output), "name another one"
        )
    images = (find_images(job.input) if in_folder else []) or [job.input]
    segmenter = load(
        job.model,
        device=job.device,
        threads=job.threads,
        engine=job.engine,
        quiet=job.quiet,
        modality=job.modality,
    )
    slices = encoded = failed = 0
    for number, path in enumerate(images, start=1):
        title = f"image {number} of {len(images)}: slices" if len(images) > 1 else "slices"
        try:
            image = read(path, job, modality=job.modality)
            done, new = _embed(segmenter, store, image, job, title)
        except PromptsegError as error:
            print(f"error: {path.name}: {error}", file=sys.stderr)
            failed += 1
            continue
        store.check()
        slices, encoded = slices + done, encoded + new
    if not job.quiet:
        print(f"images: {len(images) - failed} done, {failed} failed")
        print(f"slices: {encoded} encoded, {slices - encoded} there already")
    return 2 if failed else 0


def _embed(
    segmenter: Segmenter, store: EmbeddingStore, image: Image, job: EmbedJob, title: str
) -> tuple[int, int]:
    """Embed the slices of one image; returns how many there are and how many had to be encoded."""
    intensity = segmenter.intensity(image, job)
    for note in (*image.source.notes, *intensity.notes()):
        log.warning("%s: %s", image.name, note)
    predictor = segmenter.predictor
    batch = job.batch or predictor.batch
    stack = SliceStack(image, job.axis, intensity, predictor, batch, cache_bytes=0, store=store)
    first, last = parse_slices(job.slices, len(stack))
    with step_progress(title, last - first + 1, job.quiet) as update:
        for done, index in enumerate(range(first, last + 1), start=1):
            stack.embedding(index, last)
            update(done, f"({image.name})")
    return last - first + 1, stack.encoded
