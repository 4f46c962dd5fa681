"""The job of a video: prompts on some frames, objects followed through all, results streamed."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import Any

from promptseg._version import __version__
from promptseg.errors import InputError, OutputError, PromptsegError
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
from promptseg.jobs.batch import find_images
from promptseg.jobs.segment import load_for, prompts_in_labels, prompts_of, reads_of, single
from promptseg.jobs.video.prompts import as_given, on_frames, places_of
from promptseg.jobs.video.results import NAMES, VideoOutputs, provenance_of, write_results
from promptseg.noted import refuse
from promptseg.notes import Note
from promptseg.progress import step_progress
from promptseg.prompts import Box3D, group_by_object
from promptseg.segment.auto import settle_model
from promptseg.segment.opened import intensity_for
from promptseg.segment.options import SegmentJob
from promptseg.segment.run import Run
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video.clean import cleaned
from promptseg.segment.video.follow import conditions_of, follow_objects
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.parts import Parts
from promptseg.work import request_hash

__all__ = ["is_video_job", "segment_video"]

log = logging.getLogger("promptseg")

_SAMPLE = 32  # frames that gray values are measured on
_EMBEDDING_BYTES = 128 << 20
_NOT_FOR_VIDEOS = ("correct", "replay", "suffix")


def is_video_job(job: SegmentJob) -> bool:
    """Whether the input is a video and the output no mask file.

    A folder of pictures is a video where a prompt names a frame; else the pictures are images of their
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
    with discreet(job.input, on=job.deidentify):
        _check_options(job)
        own = OwnFolder(job.output)
        if os.path.isdir(job.input) and own.root.exists() and own.root.samefile(job.input):
            raise OutputError(
                "an output folder other than the input folder", str(own.root), "name another one"
            )
        possible = [job.output / name for name in NAMES]
        check_outputs(possible, job.overwrite, reads_of(job, [job.input]))
        frames = open_video(job.input, _reading(job))
        with frames.video:
            return _segment(job, frames, own)


def _segment(job: SegmentJob, frames: Selection, own: OwnFolder) -> VideoOutputs:
    clock = time.perf_counter()
    file = single(job.prompts) if job.prompts else None
    given = prompts_of(job, file)
    video = frames.video
    require_memory(video.facts.size, 64, video.facts.path)  # frames and masks at work
    image = frames.image()
    if job.modality:
        image.modality = job.modality
    placed = [*(on_frames(p, frames) for p in given), *prompts_in_labels(job, image, "z")]
    objects = group_by_object(placed, image.geometry, "z")  # refused before work and downloads
    job = replace(job, slices=places_of(job.slices, frames))
    sample = frames.sample(_SAMPLE)
    sample.modality = image.modality
    if sample.voxels.min() == sample.voxels.max():
        low = sample.voxels.min()
        raise InputError(
            "a video with more than one value",
            f"{image.name}: every value of {len(sample.voxels)} frames is {low}",
            "check that it is the right file",
        )
    job, choice = settle_model(job, placed, image)
    segmenter = load_for(job)
    segmenter.predictor.choice = choice
    image = _read_through(frames, image.modality, job.quiet)
    intensity = intensity_for(segmenter.predictor, sample, job)
    if intensity.lower is not None and len(frames) > _SAMPLE:
        measured = f"gray values were measured on {_SAMPLE} frames of {len(frames)}"
        image.source.notes.append(Note(measured, "intensity"))
    notes = [*map(Note, image.source.notes), *intensity.notes()]
    if job.strict:
        refuse(notes, image.name)
    for note in notes:
        log.warning("%s: %s", image.name, note)
    embedded = EmbeddedImage(
        *(image, "z", intensity, segmenter.predictor, job.batch or segmenter.predictor.batch),
        cache_bytes=_EMBEDDING_BYTES,
        store=segmenter.embeddings,
        asked=(job.modality, job.window),
    )
    run = Run.prepare(embedded, placed, job, None, clock)
    masks = FrameMasks(video.facts.size, len(objects))
    said = as_given(given, placed, frames)
    parts = Parts(own, _request(run, frames, segmenter, said))
    _follow(run, masks, parts, job, image.name)
    masks = cleaned(masks, run.options)
    facts = provenance_of(run, frames, segmenter, masks, said, job)
    outputs = write_results(job, run, frames, masks, own, facts)
    parts.clear()
    return outputs


def _check_options(job: SegmentJob) -> None:
    """Refuse what a video has no use for, by name."""
    for name in _NOT_FOR_VIDEOS:
        if getattr(job, name) is not None:
            raise InputError(
                f"an image for --{name}", f"the video {job.input}", f"leave --{name} out"
            )
    if job.axis not in (None, "z"):
        raise InputError("frames, along z", f"--axis {job.axis} for a video", "leave --axis out")
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


def _request(run: Run, frames: Selection, segmenter: Segmenter, said: dict[str, Any]) -> str:
    """Hash of all that the masks depend on."""
    predictor = segmenter.predictor
    image = run.visit.embedded.image
    return request_hash(
        {
            "version": __version__,
            "voxels": image.sha256(),
            "frames": [frames.numbers.start, frames.numbers.stop, frames.numbers.step],
            "weights": predictor.weights_sha256,
            "encoder": predictor.encoder,
            "intensity": run.visit.embedded.intensity.to_json(),
            "prompts": said,
            "options": run.options.to_json(),
        }
    )


def _follow(run: Run, masks: FrameMasks, parts: Parts, job: SegmentJob, name: str) -> None:
    title = "frames" if job.deidentify else f"{name}: frames"
    reach = {k for c in conditions_of(run) for k in range(c.reach[0], c.reach[1] + 1)}
    with step_progress(title, len(reach), job.quiet) as update:
        follow_objects(
            *(run, masks, parts, job.overwrite),
            on_frame=lambda done: update(min(done, len(reach)), f"({run.at_work})"),
        )
    for number, entry in enumerate(run.objects):
        if all(p.is_empty for p in masks.found[number].values()):
            log.warning("%s: nothing was found for %r", name, entry.name)
