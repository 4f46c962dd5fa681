"""sam2-paper: volumes as the code of the SAM2 medical benchmark propagates them (section 2.1, table 3).

What differs from "3d": the volume is cut to the slices that hold the object; the object starts on slice
n // 2 of these; its box is the projection of the object's 3D box and not that of the slice; the mask
that answers it is drawn anew into memory, and propagated forwards, then, with memory reset, backwards;
nothing ends but with the cut; where objects overlap, later ones overwrite earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.protocols.ground_truth import Scored, View
from promptseg.evaluate.protocols.scene import Scene
from promptseg.image import Segment
from promptseg.models.protocol import ConditioningPrompt, SliceMasks
from promptseg.prompts import Box, Mask
from promptseg.segment.choices import resolved
from promptseg.segment.conditioning import answer_condition
from promptseg.segment.projection import kinds_of
from promptseg.segment.slice_to_slice import gathered
from promptseg.segment.trackers import tracker_for
from promptseg.simulate.first import FirstPrompt, PromptKind

__all__ = ["as_sam2_paper"]

_NEVER_ENDS = {"min_iou": 0.0, "min_area": 0.0, "min_quality": 0.0, "max_growth": 1e9}


def as_sam2_paper(scene: Scene) -> Iterator[Scored]:
    """Propagate every object of a volume by the rules of the paper's code.

    Initialised by a box (the model's own answer, or that of a starting model, as MedSAM in table 3)
    or by the ground truth's mask of the starting slice.

    Args:
        scene: the case.
    """
    shape = scene.image.geometry.shape
    for kind in scene.prompts("sam2-paper"):
        clock = scene.clock()
        labels = np.zeros(shape, dtype=np.uint16)
        quality: dict[int, float] = {}
        begun: dict[int, tuple[int, FirstPrompt | None]] = {}
        for number, segment in enumerate(scene.objects, 1):
            if segment.is_empty:
                continue
            condition, first = _conditioning_prompt(scene, segment, kind)
            begun[number] = condition.slice, first
            propagated = _propagated(scene, condition)
            quality[number] = float(np.mean(list(propagated.quality.values()) or [0.0]))
            for index, mask in propagated.masks.items():
                labels[index][mask] = number
        prompt = f"{kind} of {scene.starter.card.name}" if scene.starter else kind
        seconds = clock() / max(1, len(begun))
        for number, segment in enumerate(scene.objects, 1):
            if number not in begun:
                continue
            truth, found = segment.mask(shape), labels == number
            facts = {"prompt": prompt, "seconds": seconds, "predicted_iou": quality[number]}
            row = scene.row(segment, truth, found, protocol="sam2-paper", **facts)
            yield Scored(row, partial(_view, truth, found, *begun[number]))


def _conditioning_prompt(
    scene: Scene, segment: Segment, kind: PromptKind
) -> tuple[ConditioningPrompt, FirstPrompt | None]:
    """The mask that an object starts with, and the box that it answers."""
    slices, rows, columns = segment.region
    reach = (slices.start, slices.stop - 1)
    start = slices.start + (slices.stop - slices.start) // 2
    if kind == "mask":
        mask, first = segment.on_slice(start, scene.image.geometry), None
    else:
        projected = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        first = FirstPrompt(box=tuple(float(edge) for edge in projected))  # type: ignore[arg-type]
        asked = ConditioningPrompt(start, box=Box(first.box, start), reach=(start, start))  # type: ignore[arg-type]
        stack = scene.starting_stack if scene.starter else scene.stack
        mask = answer_condition(stack, asked).mask
    return ConditioningPrompt(start, mask=Mask(mask, start, as_drawn=True), reach=reach), first


def _propagated(scene: Scene, condition: ConditioningPrompt) -> SliceMasks:
    options = resolved(scene.options.propagation(**_NEVER_ENDS), scene.predictor.card)
    if options.propagate != "none":
        scene.predictor.require(kinds_of(str(options.propagate)), scene.options.force)
    tracker = tracker_for(scene.predictor, options, len(scene.stack) > 1, video=True)
    (found,) = gathered(tracker.track(scene.stack, [condition]), 1)
    return found


def _view(
    truth: NDArray[np.bool_], found: NDArray[np.bool_], start: int, first: FirstPrompt | None
) -> View:
    wrong = int((truth ^ found).sum(axis=(1, 2)).argmax())
    return View(wrong, truth[wrong], found[wrong], first if wrong == start else None)
