"""Propagates prompts on some frames to packed masks on all, in parts that outlive a kill."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from promptseg.models.protocol import ConditioningPrompt, Correction, Tracked
from promptseg.segment.run import Run
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.parts import Parts

__all__ = ["conditions_of", "correct_objects", "propagate_objects"]

log = logging.getLogger("promptseg")

_FRAMES_A_PART = 16


def conditions_of(run: Run) -> list[ConditioningPrompt]:
    """Return the conditioning prompts of all objects of a run: where they start, and with what."""
    return [
        replace(condition, object=number)
        for number in range(len(run.objects))
        for condition in run.conditioning(number)
    ]


def propagate_objects(
    run: Run,
    masks: FrameMasks,
    parts: Parts,
    overwrite: bool = False,
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Propagate the objects of a run and fill their masks; what an earlier run kept is not done again.

    Args:
        run: checked; its frames are those of the video.
        masks: filled.
        parts: where they are kept meanwhile.
        overwrite: whether parts of another run are dropped.
        on_frame: told the number of visits to frames so far, of this run and the one before.

    Raises:
        OutputError: parts of another run, or none that can be written.
    """
    conditions, done = conditions_of(run), 0
    since = parts.recall(masks, overwrite)
    if since is not None:
        done = int(since.pop("done"))
        log.warning("going on after %d frames of an earlier run", done)
    tracking = run.tracker.begin(run.visit, conditions, run.turn_to, since)
    changed: set[tuple[int, int]] = set()
    for found in tracking:
        done += 1
        changed |= _add(found, masks)
        if on_frame:
            on_frame(done)
        if done % _FRAMES_A_PART == 0:
            parts.keep(masks.as_arrays(changed), tracking.state(), done)
            changed.clear()
    parts.keep(masks.as_arrays(changed), tracking.state(), done)


def correct_objects(
    run: Run, masks: FrameMasks, prompted: Sequence[Collection[int]], numbers: Sequence[int]
) -> None:
    """Correct objects with the prompts of a run; see `promptseg.segment.correct`.

    Args:
        run: checked; its objects are those with corrections.
        masks: as they are; changed.
        prompted: of every object among the masks, places of frames that earlier prompts have answered.
        numbers: which object each one of the run is among the masks.
    """
    for number, (entry, object_) in enumerate(zip(run.objects, numbers, strict=True)):
        run.turn_to(number)
        asked = Correction(
            entry,
            masks.slices(object_),
            sorted(prompted[object_]),
            (),
            limits=run.limits,
            agreement=run.options.agreement,
        )
        masks.replace(object_, run.tracker.correct(run.visit, asked))


def _add(found: list[Tracked], masks: FrameMasks) -> set[tuple[int, int]]:
    for one in found:
        answer = one.answer
        masks.add(one.object, one.frame, answer.mask, answer.iou, answer.presence)
    return {(one.object, one.frame) for one in found}
