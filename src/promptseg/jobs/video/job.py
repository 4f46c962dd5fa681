"""The job of a video: prompts on some frames, objects propagated through all, results streamed."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from promptseg._version import __version__
from promptseg.errors import InputError, ModelError, OutputError, PromptError, PromptsegError
from promptseg.formats import format_by_suffix, is_dicom_file
from promptseg.formats.deidentify import discreet
from promptseg.formats.location import address_in
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.outputs import check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.formats.promptfile import read_prompt_file
from promptseg.formats.video import Selection, is_video, open_video
from promptseg.formats.video.cine import open_cine
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.predictor import Predictor
from promptseg.jobs.batch import find_images
from promptseg.jobs.replay import check_same_weights, compared, read_provenance
from promptseg.jobs.segment import load_prompted, prompts_in_labels, prompts_of, reads_of, single
from promptseg.jobs.video.prompts import as_given, on_frames, places_of
from promptseg.jobs.video.results import (
    NAMES,
    VideoOutputs,
    provenance_of,
    require_seg_room,
    write_results,
)
from promptseg.models.heads.semantic.card import is_semantic
from promptseg.noted import refuse
from promptseg.notes import Note
from promptseg.progress import step_progress
from promptseg.prompts import Box3D, Prompt, group_by_object
from promptseg.provenance import Corrected
from promptseg.segment.auto import settle_model
from promptseg.segment.by_words import objects_by_words
from promptseg.segment.opened import intensity_for
from promptseg.segment.options import SegmentJob
from promptseg.segment.run import Run
from promptseg.segment.segmenter import Segmenter, named_after
from promptseg.segment.video.clean import cleaned
from promptseg.segment.video.earlier import Results, VideoObject, read_results
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.parts import FOLDER, Parts
from promptseg.segment.video.propagate import conditions_of, correct_objects, propagate_objects
from promptseg.segment.video.sample import SAMPLE, sample_of
from promptseg.work import request_hash

__all__ = ["is_video_job", "segment_video"]

log = logging.getLogger("promptseg")

_EMBEDDING_BYTES = 128 << 20
_NOT_FOR_VIDEOS = ("suffix",)


def is_video_job(job: SegmentJob) -> bool:
    """Tell whether the input is a video and the output no mask file.

    A folder of images is a video where a prompt names a frame; else the 2D images are images of their
    own, as they have always been.

    Raises:
        InputError: a folder of video files.
    """
    known = format_by_suffix(job.output)
    if address_in(job.input) or address_in(job.output) or (known is not None and known.writes):
        return False
    if os.path.isdir(job.input):
        pictures = find_images(job.input)
        if pictures:
            return is_video(job.input) and _names_frames(job)
        films = [p.name for p in sorted(job.input.iterdir()) if p.is_file() and is_video(p)]
        if films:
            raise InputError(
                "one video", f"{len(films)} in the folder {job.input}", "give them one by one"
            )
    elif is_video(job.input):
        return True
    try:
        if not (os.path.isdir(job.input) or is_dicom_file(job.input)):
            return False
        return open_cine(job.input, job.series) is not None
    except PromptsegError:
        return False  # said by who reads it as an image


def _names_frames(job: SegmentJob) -> bool:
    files = read_prompt_file(job.prompts) if job.prompts else []
    if len(files) > 1:
        return False
    prompts = prompts_of(job, files[0] if files else None)
    return any(getattr(p, "slice", None) is not None or isinstance(p, Box3D) for p in prompts)


def segment_video(job: SegmentJob) -> VideoOutputs:
    """Do what the job says for its one video; an unfinished run in the same folder is gone on with.

    Raises:
        PromptsegError: anything the user can put right; no result has been written then.
    """
    with discreet(job.input, job.correct, on=job.deidentify):
        _check_options(job)
        own = OwnFolder(job.output)
        if os.path.isdir(job.input) and own.root.exists() and own.root.samefile(job.input):
            raise OutputError(
                "an output folder other than the input folder", str(own.root), "name another one"
            )
        own.take("segment", *NAMES, FOLDER)
        possible = [job.output / name for name in NAMES]
        check_outputs(possible, job.overwrite, reads_of(job, [job.input]))
        frames = open_video(job.input, _reading(job))
        with frames.video:
            return _segment(job, frames, own)


def _segment(job: SegmentJob, frames: Selection, own: OwnFolder) -> VideoOutputs:
    clock = time.perf_counter()
    replayed = read_provenance(job.replay) if job.replay else None
    video = frames.video
    require_memory(video.facts.size, 64, video.facts.path)  # frames and masks at work
    existing = read_results(job.correct, frames) if job.correct else None
    given, placed = _prompts(job, frames, existing)
    objects = group_by_object(placed, frames.image().geometry, "z")  # refused before all work
    require_seg_room(frames.image(), len(objects))
    if existing and any(entry.texts for entry in objects):
        raise PromptError(
            "corrections that point at something", "words", "use boxes, clicks or masks"
        )
    job = replace(job, slices=places_of(job.slices, frames))
    sample = sample_of(frames, job.modality)
    job, choice = settle_model(job, placed, sample)
    segmenter = load_prompted(job)
    segmenter.predictor.choice = choice
    image = _read_through(frames, sample.modality, job.quiet)
    if replayed:
        check_same_weights(replayed, segmenter.predictor, image, segmenter.starter)
    embedded, starting = _embedded(job, frames, sample, image, segmenter), None
    if segmenter.starter is not None:
        starting = _seen_by(segmenter.starter, job, sample, image, segmenter)
    run = Run.prepare(embedded, placed, job, None, clock, starting)
    said = as_given(given, placed, frames)
    if existing:
        masks, told = existing.masks, existing.objects
        asked = _request(run, frames, segmenter, said, corrects=masks.sha256())
        parts = Parts(own, asked)
        parts.recall(masks, job.overwrite)  # refused where another run is unfinished
        numbers = _correct(run, existing, job, image.name)
        masks = cleaned(masks, run.options, numbers)
    elif any(entry.texts for entry in objects):
        parts = Parts(own, _request(run, frames, segmenter, said))
        parts.recall(FrameMasks(video.facts.size, 0), job.overwrite)  # those of another run
        masks, told = _search(run, job, image.name)
        masks = cleaned(masks, run.options)
    else:
        masks = FrameMasks(video.facts.size, len(objects))
        told = [VideoObject(entry.name, entry.slices) for entry in run.objects]
        parts = Parts(own, _request(run, frames, segmenter, said))
        with parts.taken_up():
            _propagate(run, masks, parts, job, image.name)
        masks = cleaned(masks, run.options)
    facts = provenance_of(
        run, frames, segmenter=segmenter, masks=masks, objects=told, said=said, job=job
    )
    if existing:
        facts = replace(facts, corrects=Corrected.of(existing.provenance))
    with parts.taken_up():
        outputs = write_results(
            job, run, frames=frames, masks=masks, objects=told, own=own, facts=facts
        )
    parts.clear()
    if replayed and job.replay:
        lowest = partial(_lowest_dsc, job.replay.parent, frames, masks)
        outputs.replayed = compared(replayed, masks.sha256(), outputs.provenance, lowest)
    return outputs


def _prompts(
    job: SegmentJob, frames: Selection, existing: Results | None
) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts as they were given, and all of them on places among the chosen frames."""
    given = prompts_of(job, single(job.prompts) if job.prompts else None)
    drawn = prompts_in_labels(job, frames.image(), "z")
    if existing:
        given = [named_after(p, existing.names) for p in given]
        drawn = [named_after(p, existing.names) for p in drawn]
    return given, [*(on_frames(p, frames) for p in given), *drawn]


def _embedded(
    job: SegmentJob,
    frames: Selection,
    sample: Image,
    image: Image,
    segmenter: Segmenter,
) -> EmbeddedImage:
    """The frames as the model sees them; what there is to note is said."""
    embedded = _seen_by(segmenter.predictor, job, sample, image, segmenter)
    intensity = embedded.intensity
    if intensity.lower is not None and len(frames) > SAMPLE:
        measured = f"gray values were measured on {SAMPLE} frames of {len(frames)}"
        image.source.notes.append(Note(measured, "intensity"))
    notes = [*map(Note, image.source.notes), *intensity.notes()]
    if job.strict:
        refuse(notes, image.name)
    for note in notes:
        log.warning("%s: %s", image.name, note)
    return embedded


def _seen_by(
    predictor: Predictor, job: SegmentJob, sample: Image, image: Image, segmenter: Segmenter
) -> EmbeddedImage:
    """The frames as a model sees them."""
    intensity = intensity_for(predictor, sample, job)
    return EmbeddedImage(
        image,
        "z",
        intensity,
        predictor,
        job.batch or predictor.batch,
        cache_bytes=_EMBEDDING_BYTES,
        store=segmenter.embeddings,
        asked=(job.modality, job.window),
    )


def _lowest_dsc(folder: Path, frames: Selection, masks: FrameMasks) -> float | None:
    """Lowest DSC of the objects against earlier masks, if these are still there."""
    try:
        before = read_results(folder, frames).masks
    except PromptsegError:
        return None
    if len(before.found) != len(masks.found):
        return None
    scores = []
    for number in range(len(masks.found)):
        shared = total = 0
        for frame in {*masks.found[number], *before.found[number]}:
            a, b = masks.on(number, frame), before.on(number, frame)
            shared, total = shared + int((a & b).sum()), total + int(a.sum()) + int(b.sum())
        scores.append(2 * shared / total if total else 1.0)
    return min(scores, default=None)


def _check_options(job: SegmentJob) -> None:
    """Refuse what a video has no use for, by name."""
    if job.start_model is not None and job.correct is not None:
        raise InputError(
            "--correct by the model that follows",
            f"--start-model {job.start_model}",
            "leave it out",
        )
    for name in _NOT_FOR_VIDEOS:
        if getattr(job, name) is not None:
            raise InputError(
                f"an image for --{name}", f"the video {job.input}", f"leave --{name} out"
            )
    if is_semantic(job.model):
        raise ModelError(
            "a model of prompts for a video", job.model, "give its frames as a folder of images"
        )
    if job.axis not in (None, "z"):
        raise InputError("frames, along z", f"--axis {job.axis} for a video", "leave --axis out")
    if job.beside:
        raise InputError(
            "a label image for --beside", f"the video {job.input}", "leave --beside out"
        )
    for name in job.chosen():
        if name not in ("frames", "series"):
            raise InputError(
                f"an image for --{name}", f"the video {job.input}", f"leave --{name} out"
            )
    if format_by_suffix(job.output) is not None or job.output.suffix.lower() in (".zip", ".csv"):
        raise OutputError(
            "a folder for the results of a video", str(job.output), "name a folder, or a mask file"
        )


def _reading(job: SegmentJob) -> ReadOptions:
    return ReadOptions(frames=job.frames, series=job.series)


def _read_through(frames: Selection, modality: str, quiet: bool) -> Image:
    """The image after every frame was decoded once: damage is known before hours of work.

    Its hash is taken on the way.
    """
    with step_progress(f"{frames.video.name}: reading", len(frames), quiet) as update:
        image = frames.image(lambda done: update(done, ""))
        image.modality = modality
        image.sha256()
    return image


def _request(
    run: Run,
    frames: Selection,
    segmenter: Segmenter,
    said: dict[str, Any],
    corrects: str | None = None,
) -> str:
    """Hash of all that the masks depend on."""
    predictor = segmenter.predictor
    image = run.visit.embedded.image
    return request_hash(
        {
            "version": __version__,
            "voxels": image.sha256(),
            "frames": [frames.numbers.start, frames.numbers.stop, frames.numbers.step],
            "weights": predictor.weights_sha256,
            "started_by": segmenter.starter and segmenter.starter.weights_sha256,
            "encoder": predictor.encoder,
            "intensity": run.visit.embedded.intensity.to_json(),
            "prompts": said,
            "options": run.options.to_json(),
            "corrects": corrects,
        }
    )


def _correct(run: Run, existing: Results, job: SegmentJob, name: str) -> list[int]:
    """Correct the objects that the prompts of a run name; their numbers."""
    numbers = [existing.names.index(entry.name) for entry in run.objects]
    with step_progress(
        "frames" if job.deidentify else f"{name}: frames", None, job.quiet
    ) as update:
        run.visit.on_encoded = lambda done: update(done, f"({run.at_work})")
        settled = [one.prompted for one in existing.objects]
        correct_objects(run, existing.masks, settled, numbers)
    for entry, number in zip(run.objects, numbers, strict=True):
        existing.objects[number].prompted |= entry.slices
    return numbers


def _search(run: Run, job: SegmentJob, name: str) -> tuple[FrameMasks, list[VideoObject]]:
    """Look for what phrases name on every frame; not in parts: a run that was cut off begins anew.

    Nothing is cleaned up here: that is done frame by frame afterwards.
    """
    first, last = run.limits
    title = "frames" if job.deidentify else f"{name}: frames"
    with step_progress(title, last - first + 1, job.quiet) as update:
        run.visit.on_encoded = lambda done: update(done, f"({run.at_work})")
        found = objects_by_words(run)
    masks = FrameMasks(run.visit.embedded.image.geometry.slice_shape("z"), len(found))
    nothing = np.zeros(masks.size, dtype=bool)
    for number, one in enumerate(found):
        presence = {} if job.instances else one.words.presence
        for frame in sorted({*one.masks, *presence}):
            mask = one.masks.get(frame, nothing)
            if mask.any() or frame in presence:
                there = _logit(presence[frame]) if frame in presence else None
                masks.add(number, frame, mask, None, there)
    return masks, [VideoObject(one.name, set(), one.words) for one in found]


def _logit(share: float) -> float:
    kept = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(kept / (1 - kept))


def _propagate(run: Run, masks: FrameMasks, parts: Parts, job: SegmentJob, name: str) -> None:
    title = "frames" if job.deidentify else f"{name}: frames"
    reach = {k for c in conditions_of(run) for k in range(c.reach[0], c.reach[1] + 1)}
    with step_progress(title, len(reach), job.quiet) as update:
        propagate_objects(
            run,
            masks,
            parts,
            job.overwrite,
            on_frame=lambda done: update(min(done, len(reach)), f"({run.at_work})"),
        )
    for number, entry in enumerate(run.objects):
        if all(p.is_empty for p in masks.found[number].values()):
            log.warning("%s: nothing was found for %r", name, entry.name)
