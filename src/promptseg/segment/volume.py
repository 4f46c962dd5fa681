"""Takes a mask from a slice to its neighbour: the mask of one prompts the next.

The modes are those of the SAM2 medical benchmark (section 2.1) and of MedicoSAM (section II-C).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import Answer, Frames, SliceMasks, SlicePrompt
from promptseg.prompts import box_of_mask
from promptseg.segment.projection import Bounds, project

__all__ = [
    "Answer",
    "PropagationRule",
    "SliceMasks",
    "advance",
    "ask",
    "grown_box",
    "inside",
    "overlap",
]


@dataclass(frozen=True)
class PropagationRule:
    """Rule of when and how a mask reaches the next slice.

    Attributes:
        mode: the prompts derived from a mask, one of `projection.MODES`.
        margin: fraction of the box's length added on every side.
        margin_pixels: added on every side beyond that, in widths of the pixel's shorter side.
        min_iou: the object ends where neighbouring masks agree less.
        min_area: the object ends where its area is less than this fraction of the first mask's.
        min_quality: the object ends where the predicted IoU is lower.
        max_growth: the object ends where the area grows by more than this factor.
        returns: whether the object may vanish and come back, so that it never ends.
    """

    mode: str = "box"
    margin: float = 0.0
    margin_pixels: float = 0.0
    min_iou: float = 0.0
    min_area: float = 0.0
    min_quality: float = 0.0
    max_growth: float = float("inf")
    returns: bool = False

    def continues(
        self,
        first_area: int,
        previous: NDArray[np.bool_],
        mask: NDArray[np.bool_],
        quality: float,
    ) -> bool:
        """Tell whether `mask` is still the object that was `previous` one slice before."""
        if self.returns:
            return True
        area, before = int(mask.sum()), int(previous.sum())
        if area == 0 or quality < self.min_quality:
            return False
        if area < self.min_area * first_area or area > self.max_growth * before:
            return False
        return overlap(mask, previous) >= self.min_iou


def ask(
    stack: Frames,
    index: int,
    prompt: SlicePrompt,
    towards: int | None = None,
    bounds: Bounds | None = None,
) -> Answer:
    """Ask the model for its answer to the prompts of one object on one slice."""
    prediction = stack.predictor.decode(stack.embedding(index, towards), [prompt])
    return Answer(
        inside(prediction.masks[0], bounds), float(prediction.iou[0]), prediction.logits[:1]
    )


def advance(
    stack: Frames,
    answer: Answer,
    index: int,
    end: int,
    rule: PropagationRule,
    bounds: Bounds | None = None,
) -> Answer | None:
    """Return the answer on slice `index`, given that of its neighbour; None where that one is empty."""
    box = box_of_mask(answer.mask)
    if box is None:
        return None
    grown = grown_box(box, rule, answer.mask.shape, bounds, stack.pixel)
    prompt = project(rule.mode, answer.mask, answer.logits, grown)
    return ask(stack, index, prompt, end, bounds)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the IoU of two masks; 1 where both are empty."""
    shared, union = int((a & b).sum()), int((a | b).sum())
    return shared / union if union else 1.0


def grown_box(
    box: Bounds,
    rule: PropagationRule,
    shape: tuple[int, ...],
    bounds: Bounds | None = None,
    pixel: tuple[float, float] = (1, 1),
) -> Bounds:
    """Return a box with the rule's margins on every side, kept inside the slice (and `bounds`)."""
    x0, y0, x1, y1 = box
    absolute = rule.margin_pixels * min(pixel)
    dx = rule.margin * (x1 - x0 + 1) + absolute / pixel[0]
    dy = rule.margin * (y1 - y0 + 1) + absolute / pixel[1]
    low_x, low_y, high_x, high_y = bounds or (0, 0, shape[1] - 1, shape[0] - 1)
    return (
        min(max(x0 - dx, low_x), high_x),
        min(max(y0 - dy, low_y), high_y),
        max(min(x1 + dx, high_x), low_x),
        max(min(y1 + dy, high_y), low_y),
    )


def inside(mask: NDArray[np.bool_], bounds: Bounds | None) -> NDArray[np.bool_]:
    """Return the part of a (rows, columns) mask whose pixels lie within XYXY `bounds`."""
    if bounds is None:
        return mask
    x0, y0, x1, y1 = bounds
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.asarray(mask & (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))
