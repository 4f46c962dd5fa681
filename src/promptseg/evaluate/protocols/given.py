"""predictions: masks that are there already, scored by the rules that models are scored by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from promptseg.evaluate.protocols.ground_truth import GroundTruthCase, Scored, View
from promptseg.image import Segment

__all__ = ["given"]


def given(
    case: GroundTruthCase, found: Sequence[Segment], notes: Sequence[str]
) -> Iterator[Scored]:
    """Score the masks of a case.

    2D images and volumes have a row per object; videos one per object and frame with a truth.

    Args:
        case: with the objects of the truth.
        found: what was found of each, in the same order.
        notes: on the masks as a whole.
    """
    pairs = list(zip(case.objects, found, strict=True))
    if case.options.background:
        pairs.append((case.background(case.objects), case.background(found)))
    for truth, segment in pairs:
        if case.image.kind != "video":
            yield _whole(case, truth, segment, notes)
            continue
        for index in case.annotated_frames():
            yield _slice(case, truth, segment, index, notes)


def _whole(case: GroundTruthCase, truth: Segment, found: Segment, notes: Sequence[str]) -> Scored:
    shape = case.image.geometry.shape
    masks = truth.mask(shape), found.mask(shape)
    row = case.row(truth, *masks, **_facts(notes))

    def view() -> View:
        if len(shape) == 2:
            return View(0, *masks)
        wrong = int((masks[0] ^ masks[1]).sum(axis=(1, 2)).argmax())
        return View(wrong, masks[0][wrong], masks[1][wrong])

    return Scored(row, view)


def _slice(
    case: GroundTruthCase, truth: Segment, found: Segment, index: int, notes: Sequence[str]
) -> Scored:
    masks = truth.on_slice(index, case.image.geometry), found.on_slice(index, case.image.geometry)
    row = case.row(truth, *masks, frame=index, **_facts(notes))
    return Scored(row, partial(View, index, *masks))


def _facts(notes: Sequence[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {"protocol": "predictions", "prompt": ""}
    facts |= {"predicted_iou": None, "seconds": None}
    return facts | ({"note": "; ".join(notes)} if notes else {})
