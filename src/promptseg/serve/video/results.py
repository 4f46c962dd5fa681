"""Results of a session on a video as files: for download, or into the folder that is served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from promptseg.errors import OutputError, PromptError
from promptseg.formats.files import atomic_paths
from promptseg.formats.own_folder import OwnFolder
from promptseg.formats.video import Selection
from promptseg.jobs.video.results import SEG, provenance_of, seg_writer
from promptseg.prompts import PlacedPrompt
from promptseg.provenance import Provenance
from promptseg.segment.options import SegmentJob
from promptseg.segment.run import Run
from promptseg.segment.video.earlier import PROVENANCE, VideoObject
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.write import AREAS, LABELS, MASKS, OVERLAY, Film, write_film
from promptseg.serve.refusals import TakenError
from promptseg.serve.video.steps import place_of
from promptseg.serve.video.tracking import in_video
from promptseg.serve.video.work import VideoWork

__all__ = ["WHAT", "What", "save_results", "write_downloads"]

What = Literal["overlay", "masks", "areas", "labels", "seg"]
WHAT: tuple[What, ...] = get_args(What)
_FILES: dict[What, str] = {
    "overlay": OVERLAY,
    "masks": MASKS,
    "areas": AREAS,
    "labels": LABELS,
    "seg": SEG,
}
_LEAST_FREE = 64 << 20
_PICTURE_SHARE = 0.25  # bytes of a pixel that an encoded overlay takes at most, as a rule


def write_downloads(work: VideoWork, what: Collection[What]) -> list[Path]:
    """Write files for download into the session's folder; those of earlier requests are removed.

    Raises:
        PromptError: no object has a mask.
        OutputError: a full disk, or DICOM SEG of what is no cine.
        CancelledError: it was stopped.
    """
    own = OwnFolder(work.folder)
    own.remove("results")
    names = [name for kind, name in _FILES.items() if kind in what]
    own.claim(*(f"results/{name}" for name in names))
    paths = {name: work.results / name for name in names}
    _written(work, paths, overwrite=True)
    return list(paths.values())


def save_results(
    work: VideoWork, folder: Path, what: Collection[What], *, overwrite: bool = False
) -> list[Path]:
    """Write files into a folder below the root, all or none, with the provenance for `--correct`.

    Args:
        work: the session.
        folder: made if it is not there.
        what: which files, beside the provenance.
        overwrite: replace what exists.

    Raises:
        PromptError: no object has a mask.
        TakenError: files that exist.
        OutputError: a full disk, or DICOM SEG of what is no cine.
        CancelledError: it was stopped.
    """
    names = [*(name for kind, name in _FILES.items() if kind in what), PROVENANCE]
    paths = {name: folder / name for name in names}
    there = [name for name, path in paths.items() if path.exists()]
    if there and not overwrite:
        raise TakenError("a folder without such files", f"{there[0]}, which exists", "overwrite it")
    if folder.resolve() == work.clip.path.resolve():
        raise OutputError("another folder than that of the frames", folder.name, "name another")
    _written(work, paths, overwrite)
    return list(paths.values())


def _written(work: VideoWork, paths: dict[str, Path], overwrite: bool) -> None:
    with work.writing_results() as told:
        objects = [one for one in work.step.objects if one.shown]
        if not objects:
            raise PromptError("an object with a mask", "none", "draw a box or click first")
        cine = work.clip.frames.video.facts.format == "dicom"
        if SEG in paths and not cine:
            raise OutputError(
                "a DICOM cine for DICOM SEG", work.clip.frames.video.name, "choose another format"
            )
        _require_disk(work, paths)
        with ExitStack() as stack:
            frames = work.clip.reader()
            stack.enter_context(closing(frames.video))
            passes = 2 if {SEG, PROVENANCE} & paths.keys() else 1  # their facts need every voxel
            total = passes * len(frames)
            placed = [prompt for one in objects for prompt in one.prompts]
            image = frames.image(lambda done: told(len(frames) + done, total))
            image.modality = work.clip.embedded.image.modality
            run = work.clip.run(placed, work.clip.options, image)
            masks = FrameMasks(work.clip.size, len(objects))
            masks.found = [dict(one.shown) for one in objects]
            names = [one.name for one in objects]
            temporaries = stack.enter_context(atomic_paths(*paths.values(), overwrite=overwrite))
            at = dict(zip(paths, temporaries, strict=True))
            film = Film(frames, masks, names, placed, run.visit.embedded.intensity, True)
            streamed = {k: at[k] for k in (OVERLAY, MASKS, LABELS, AREAS) if k in at}
            write_film(film, streamed, lambda done: told(done, total))
            if passes > 1:
                told_of = [VideoObject(o.name, set(map(place_of, o.prompts))) for o in objects]
                facts = _facts(work, run, frames, masks, placed, told_of)
                result, write = seg_writer(_job(work), image, frames, masks, told_of, facts)
                if SEG in at and write is not None:
                    write(at[SEG])
                if PROVENANCE in at:
                    text = json.dumps(result.provenance.to_json(), indent=2, allow_nan=False)
                    at[PROVENANCE].write_text(f"{text}\n", encoding="utf-8")


def _facts(
    work: VideoWork,
    run: Run,
    frames: Selection,
    masks: FrameMasks,
    placed: Sequence[PlacedPrompt],
    objects: Sequence[VideoObject],
) -> Provenance:
    """What made the masks: the steps of the session, no command."""
    said = in_video(work.clip, placed)
    facts = provenance_of(
        run,
        frames,
        segmenter=work.clip.segmenter,
        masks=masks,
        objects=objects,
        said=said,
        job=_job(work),
    )
    steps = tuple(step.action for step in work.history[: work.position + 1])
    return replace(facts, command=None, session=steps, output=MASKS)


def _job(work: VideoWork) -> SegmentJob:
    """What `promptseg segment` would have been asked for."""
    numbers = work.clip.frames.numbers
    return SegmentJob(
        input=work.clip.path,
        output=Path(work.clip.path.stem),
        model=work.clip.segmenter.predictor.card.name,
        frames=f"{numbers[0]}:{numbers[-1]}:{numbers.step}",
        series=work.clip.series,
        quiet=True,
    )


def _require_disk(work: VideoWork, paths: dict[str, Path]) -> None:
    """Refuse before hours of work what the disk has no room for, by a rule of thumb."""
    rows, columns = work.clip.size
    needed = _LEAST_FREE
    if OVERLAY in paths:
        needed += int(len(work.clip.frames) * rows * columns * _PICTURE_SHARE)
    place = next(iter(paths.values())).parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OutputError(
            f"about {needed >> 20} MiB of free disk for the results",
            f"{free >> 20} MiB",
            "free some space, or leave the overlay out",
        )
