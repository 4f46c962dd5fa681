"""What a video's run leaves: files that appear together in a folder, and what made them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptseg.formats import writer_of
from promptseg.formats.deidentify import deidentified
from promptseg.formats.dicom.instances import DicomSource
from promptseg.formats.files import atomic_paths
from promptseg.formats.memory import require_memory
from promptseg.formats.outputs import check_outputs
from promptseg.formats.own_folder import OwnFolder
from promptseg.formats.video import Selection
from promptseg.image import Image, Segmentation, Source
from promptseg.jobs.segment import command_of, reads_of
from promptseg.progress import step_progress
from promptseg.provenance import ObjectFacts, Provenance
from promptseg.segment.opened import notes_on
from promptseg.segment.options import SegmentJob
from promptseg.segment.provenance import describe
from promptseg.segment.run import Run
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.write import AREAS, LABELS, MASKS, OVERLAY, Film, write_film

__all__ = ["NAMES", "VideoOutputs", "provenance_of", "write_results"]

log = logging.getLogger("promptseg")

SEG, PROVENANCE = "masks.dcm", "provenance.json"
NAMES = (OVERLAY, MASKS, LABELS, AREAS, SEG, PROVENANCE)
"""Files that a run may leave, the last one last."""


@dataclass
class VideoOutputs:
    """What a run left in its folder.

    Attributes:
        folder: the folder.
        files: names of the files in it.
        provenance: what made them.
        frames: number of frames.
    """

    folder: Path
    files: tuple[str, ...]
    provenance: Provenance
    frames: int

    def summary(self) -> list[str]:
        """Lines for a person: the objects, and where everything is."""
        lines = []
        for entry in self.provenance.objects or ():
            found = int(entry.more["frames"])
            said = f"on {found} of {self.frames} frames" if found else "nothing found"
            if entry.predicted_iou is not None:
                doubt = " (low confidence)" if entry.low_confidence else ""
                said += f", predicted IoU {entry.predicted_iou:.2f}{doubt}"
            lines.append(f"{entry.label} {entry.name}: {said}")
        return [*lines, f"in {self.folder}: {', '.join(self.files)}"]


def provenance_of(
    run: Run,
    frames: Selection,
    segmenter: Segmenter,
    masks: FrameMasks,
    said: dict[str, Any],
    job: SegmentJob,
) -> Provenance:
    """What made the masks; frames are counted as in the video.

    Args:
        run: what was done.
        frames: the video.
        segmenter: the model.
        masks: what was found.
        said: the prompts as a prompt file holds them.
        job: what was asked for.
    """
    embedded = run.visit.embedded
    image = embedded.image
    nothing = Segmentation([], image.geometry, image.source)
    facts = describe(
        *(nothing, image, segmenter.predictor, embedded.intensity, said),
        run.options.to_json(),
        notes_on(embedded),
        run.timings,
    )
    low = segmenter.predictor.card.low_quality
    objects = tuple(
        _object(number, entry.name, entry.slices, frames, masks, low)
        for number, entry in enumerate(run.objects)
    )
    for one in objects:
        if one.low_confidence:
            words = "%s: low confidence in %r (predicted IoU %.2f): look at it"
            log.warning(words, image.name, one.name, one.predicted_iou)
    return replace(
        facts,
        objects=objects,
        masks_sha256=None,
        command=command_of(job),
        output=job.output.name,
        overlap=job.overlap,
    )


def _object(
    number: int, name: str, prompted: set[int], frames: Selection, masks: FrameMasks, low: float
) -> ObjectFacts:
    filled = {k: p for k, p in masks.found[number].items() if not p.is_empty}
    iou = sum(p.iou for p in filled.values()) / len(filled) if filled else None
    return ObjectFacts(
        label=number + 1,
        name=name,
        predicted_iou=None if iou is None else round(iou, 4),
        low_confidence=iou is not None and iou < low,
        prompted_slices=tuple(sorted(frames.numbers[k] for k in prompted)),
        value=number + 1,
        more={"frames": len(filled)},
    )


def write_results(
    job: SegmentJob,
    run: Run,
    frames: Selection,
    masks: FrameMasks,
    own: OwnFolder,
    facts: Provenance,
) -> VideoOutputs:
    """Write all files of a run, or none.

    Args:
        job: what was asked for, and where results go.
        run: what was done.
        frames: the video.
        masks: what was found.
        own: the output folder.
        facts: what made it.

    Raises:
        OutputError: a file that exists, or a folder that cannot be written.
    """
    image = run.visit.embedded.image
    names = [entry.name for entry in run.objects]
    shared = masks.overlap()
    layers = shared is not None and job.overlap == "keep"
    placed = [p for entry in run.objects for p in (*entry.planar, *entry.boxes3d)]
    film = Film(frames, masks, names, placed, run.visit.embedded.intensity, layers)
    streamed = [*([OVERLAY] if job.overlay else []), MASKS, LABELS, AREAS]
    source, seg = _seg_writer(job, image, frames, masks, names, facts)
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
    return VideoOutputs(job.output, tuple(files), source.provenance, len(frames))


def _seg_writer(
    job: SegmentJob,
    image: Image,
    frames: Selection,
    masks: FrameMasks,
    names: list[str],
    facts: Provenance,
) -> tuple[Segmentation, Callable[[Path], None] | None]:
    """The result with its provenance, and what writes it as DICOM SEG where the video is a cine."""
    header = image.source.header
    segments = []
    source = Source(image.source.path, image.source.format, notes=image.source.notes)
    if isinstance(header, DicomSource):
        require_memory((len(names), *image.geometry.shape), 1, job.input)
        segments = [masks.segment(k, name, k + 1) for k, name in enumerate(names)]
        source.header = DicomSource(tuple(header.slices[k] for k in frames.numbers))
        source.grid = image.geometry
    result = Segmentation(segments, image.geometry, source, facts)
    if job.deidentify:
        result = deidentified(result)
    if not isinstance(header, DicomSource):
        return result, None
    return result, writer_of(result, Path(SEG), job.overlap)
