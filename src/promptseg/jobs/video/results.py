"""Results of a video's run: files that appear together in a folder, and what made them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptseg.formats import writer_of
from promptseg.formats.deidentify import deidentified
from promptseg.formats.dicom.instances import DicomSource
from promptseg.formats.files import atomic_paths
from promptseg.formats.memory import FEWER_FRAMES, require_memory
from promptseg.formats.outputs import check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.formats.video import Selection
from promptseg.image import FoundByWords, Image, Segment, Segmentation, Source
from promptseg.jobs.segment import command_of, reads_of
from promptseg.progress import step_progress
from promptseg.provenance import ObjectFacts, Provenance
from promptseg.segment.opened import notes_on
from promptseg.segment.options import SegmentJob
from promptseg.segment.provenance import describe
from promptseg.segment.run import Run
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video.earlier import PROVENANCE, VideoObject
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.write import AREAS, LABELS, MASKS, OVERLAY, Film, write_film

__all__ = [
    "NAMES",
    "VideoOutputs",
    "provenance_of",
    "require_seg_room",
    "seg_writer",
    "write_results",
]

log = logging.getLogger("promptseg")

SEG = "masks.dcm"
NAMES = (OVERLAY, MASKS, LABELS, AREAS, SEG, PROVENANCE)
"""Files that a run may leave, the last one last."""

_STRETCHES = 5


@dataclass
class VideoOutputs:
    """Results that a run left in its folder.

    Attributes:
        folder: the folder.
        files: names of the files in it.
        provenance: what made them.
        frames: number of frames.
        replayed: how the masks compare with those of the run that was replayed.
    """

    folder: Path
    files: tuple[str, ...]
    provenance: Provenance
    frames: int
    replayed: str | None = None

    def summary(self) -> list[str]:
        """Return lines for a person: the objects, and where everything is."""
        lines = []
        for entry in self.provenance.objects or ():
            found = int(entry.more["frames"])
            said = f"on {found} of {self.frames} frames" if found else "nothing found"
            if entry.predicted_iou is not None:
                doubt = " (low confidence)" if entry.low_confidence else ""
                said += f", predicted IoU {entry.predicted_iou:.2f}{doubt}"
            if absent := entry.more["absent"]:
                said += f", absent on frames {_ranges(absent)}"
            lines.append(f"{entry.label} {entry.name}: {said}")
        lines.append(f"in {self.folder}: {', '.join(self.files)}")
        if self.replayed:
            lines.append(f"replay: {self.replayed}")
        return lines


def provenance_of(
    run: Run,
    frames: Selection,
    segmenter: Segmenter,
    masks: FrameMasks,
    objects: Sequence[VideoObject],
    said: dict[str, Any],
    job: SegmentJob,
) -> Provenance:
    """Build the provenance of the masks; frames are counted as in the video.

    Args:
        run: what was done.
        frames: the video.
        segmenter: the model.
        masks: what was found.
        objects: of what.
        said: the prompts as a prompt file holds them.
        job: what was asked for.
    """
    embedded = run.visit.embedded
    image = embedded.image
    nothing = Segmentation([], image.geometry, image.source)
    facts = describe(
        nothing,
        image,
        predictor=segmenter.predictor,
        intensity=embedded.intensity,
        prompts=said,
        options=run.options.to_json(),
        notes=notes_on(embedded),
        timings=run.timings,
        started_by=segmenter.starter,
    )
    low = segmenter.predictor.card.low_quality
    told = tuple(_object(n, one, frames, masks, low) for n, one in enumerate(objects))
    for one in told:
        if one.low_confidence:
            words = "%s: low confidence in %r (predicted IoU %.2f): look at it"
            log.warning(words, image.name, one.name, one.predicted_iou)
    return replace(
        facts,
        objects=told,
        masks_sha256=masks.sha256(),
        command=command_of(job),
        output=job.output.name,
        overlap=job.overlap,
    )


def _object(
    number: int, one: VideoObject, frames: Selection, masks: FrameMasks, low: float
) -> ObjectFacts:
    known = [masks.iou(number, k) for k in masks.found[number]]
    values = [value for value in known if value is not None]
    iou = sum(values) / len(values) if values else None
    filled = sum(not packed.is_empty for packed in masks.found[number].values())
    return ObjectFacts(
        label=number + 1,
        name=one.name,
        predicted_iou=None if iou is None else round(iou, 4),
        low_confidence=iou is not None and iou < low,
        prompted_slices=tuple(sorted(frames.numbers[k] for k in one.prompted)),
        value=number + 1,
        words=None if one.words is None else _on_numbers(one.words, frames).to_json(),
        more={"frames": filled, "absent": _together(masks.absent(number), frames)},
    )


def _on_numbers(words: FoundByWords, frames: Selection) -> FoundByWords:
    """Scores by frame of the video."""
    by_frame = (
        {frames.numbers[k]: v for k, v in d.items()} for d in (words.scores, words.presence)
    )
    scores, presence = by_frame
    return replace(words, scores=scores, presence=presence)


def _together(places: Sequence[int], frames: Selection) -> list[list[int]]:
    """Numbers of the first and last frame of each stretch of frames without a gap."""
    stretches: list[list[int]] = []
    for place in places:
        if stretches and stretches[-1][1] == place - 1:
            stretches[-1][1] = place
        else:
            stretches.append([place, place])
    return [[frames.numbers[first], frames.numbers[last]] for first, last in stretches]


def _ranges(stretches: Sequence[Sequence[int]]) -> str:
    """Frames for a person; of many stretches the first few."""
    words = [str(a) if a == b else f"{a}-{b}" for a, b in stretches[:_STRETCHES]]
    more = f" and {len(stretches) - _STRETCHES} more" if len(stretches) > _STRETCHES else ""
    return ", ".join(words) + more


def write_results(
    job: SegmentJob,
    run: Run,
    frames: Selection,
    masks: FrameMasks,
    objects: Sequence[VideoObject],
    own: OwnFolder,
    facts: Provenance,
) -> VideoOutputs:
    """Write all files of a run, or none; of an earlier run of ours that they replace none stays.

    Args:
        job: what was asked for, and where results go.
        run: what was done.
        frames: the video.
        masks: what was found.
        objects: of what.
        own: the output folder.
        facts: what made it.

    Raises:
        OutputError: a file that exists, or a folder that cannot be written.
    """
    image = run.visit.embedded.image
    names = [one.name for one in objects]
    shared = masks.overlap()
    layers = shared is not None and job.overlap == "keep"
    placed = [p for entry in run.objects for p in (*entry.planar, *entry.boxes3d)]
    film = Film(frames, masks, names, placed, run.visit.embedded.intensity, layers)
    streamed = [*([OVERLAY] if job.overlay else []), MASKS, LABELS, AREAS]
    source, seg = seg_writer(job, image, frames, masks, objects, facts)
    files = [*streamed, *([SEG] if seg else []), PROVENANCE]
    check_outputs([job.output / n for n in files], job.overwrite, reads_of(job, [job.input]))
    own.claim(*files, taken=job.overwrite)
    paths = [job.output / name for name in files]
    with atomic_paths(*paths, overwrite=job.overwrite) as temporaries:
        at = dict(zip(files, temporaries, strict=True))
        with step_progress("writing", len(frames), job.quiet) as update:
            write_film(film, {name: at[name] for name in streamed}, lambda done: update(done, ""))
        if seg:
            seg(at[SEG])
        text = json.dumps(source.provenance.to_json(), indent=2, allow_nan=False) + "\n"
        at[PROVENANCE].write_text(text, encoding="utf-8")
    if job.overwrite:
        own.remove(*(name for name in NAMES if name not in files))
    return VideoOutputs(job.output, tuple(files), source.provenance, len(frames))


def require_seg_room(image: Image, objects: int) -> None:
    """Refuse a cine of which no DICOM SEG could be written, before hours of work; see `require_memory`.

    Args:
        image: the frames that are chosen; of a video without DICOM nothing is asked.
        objects: how many there are to be.
    """
    if isinstance(image.source.header, DicomSource) and image.source.path:
        shape = (objects, *image.geometry.shape)
        require_memory(shape, 1, image.source.path, FEWER_FRAMES)


def seg_writer(
    job: SegmentJob,
    image: Image,
    frames: Selection,
    masks: FrameMasks,
    objects: Sequence[VideoObject],
    facts: Provenance,
) -> tuple[Segmentation, Callable[[Path], None] | None]:
    """Return the result with its provenance, and a writer of DICOM SEG where the video is a cine."""
    header = image.source.header
    segments: list[Segment] = []
    source = Source(image.source.path, image.source.format, notes=image.source.notes)
    if isinstance(header, DicomSource):
        require_seg_room(image, len(objects))
        for k, one in enumerate(objects):
            segments.append(masks.segment(k, one.name, k + 1))
            segments[-1].words = one.words
        source.header = DicomSource(tuple(header.slices[k] for k in frames.numbers))
        source.grid = image.geometry
    result = Segmentation(segments, image.geometry, source, facts)
    if job.deidentify:
        result = deidentified(result)
    if not isinstance(header, DicomSource):
        return result, None
    return result, writer_of(result, Path(SEG), job.overlap)
