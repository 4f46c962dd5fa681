"""From one slice to a volume: the mask of each slice prompts the next one (SAM2 medical benchmark,
section 2.1; the projection mode "box" of MedicoSAM, section II-C)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptseg.prompts import box_of_mask
from promptseg.segment.stack import SliceStack

__all__ = ["PropagationRule", "SliceMasks", "grown_box", "inside", "propagate_box"]


@dataclass(frozen=True)
class PropagationRule:
    """When and how a mask reaches the next slice.

    Attributes:
        margin: fraction of the box's length added on every side.
        margin_pixels: added on every side beyond that, in widths of the pixel's shorter side.
        min_iou: the object ends where neighbouring masks agree less.
        min_area: the object ends where its area is less than this fraction of the first mask's.
        min_quality: the object ends where the predicted IoU is lower.
        max_growth: the object ends where the area grows by more than this factor.
    """

    margin: float = 0.0
    margin_pixels: float = 0.0
    min_iou: float = 0.0
    min_area: float = 0.0
    min_quality: float = 0.0
    max_growth: float = float("inf")

    def continues(
        self,
        first_area: int,
        previous: NDArray[np.bool_],
        mask: NDArray[np.bool_],
        quality: float,
    ) -> bool:
        """Whether `mask` is still the object that was `previous` one slice before."""
        area, before = int(mask.sum()), int(previous.sum())
        if area == 0 or quality < self.min_quality:
            return False
        if area < self.min_area * first_area or area > self.max_growth * before:
            return False
        shared = int((mask & previous).sum())
        return shared / (area + before - shared) >= self.min_iou


@dataclass
class SliceMasks:
    """Masks of one object by slice.

    Attributes:
        masks: slice index -> (rows, columns) mask.
        quality: slice index -> predicted IoU.
    """

    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    quality: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, mask: NDArray[np.bool_], quality: float) -> None:
        """Join a mask to what the slice has already."""
        if index in self.masks:
            mask = mask | self.masks[index]
            quality = max(quality, self.quality[index])
        self.masks[index], self.quality[index] = mask, quality


def propagate_box(
    stack: SliceStack,
    start: int,
    mask: NDArray[np.bool_],
    rule: PropagationRule,
    first: int,
    last: int,
    bounds: tuple[float, float, float, float] | None = None,
) -> SliceMasks:
    """Follow an object up and down from its mask on slice `start`.

    Args:
        stack: the slices.
        start: slice of `mask`, which is not repeated in the result.
        mask: (rows, columns) mask on that slice.
        rule: margin and where to stop.
        first: lowest slice that may be reached.
        last: highest slice that may be reached.
        bounds: XYXY that boxes and masks never leave (the sides of a 3D box).

    Returns:
        The masks of the other slices, until the object ends on either side.
    """
    found = SliceMasks()
    first_area = int(mask.sum())
    for step, end in ((1, last), (-1, first)):
        previous = mask
        for index in range(start + step, end + step, step):
            box = box_of_mask(previous)
            if box is None:
                break
            grown = grown_box(box, rule, previous.shape, bounds, stack.pixel)
            prediction = stack.predictor.decode(stack.embedding(index, end), boxes=[grown])
            mask_here = inside(prediction.masks[0], bounds)
            quality = float(prediction.iou[0])
            if not rule.continues(first_area, previous, mask_here, quality):
                break
            found.add(index, mask_here, quality)
            previous = mask_here
    return found


def grown_box(
    box: tuple[float, float, float, float],
    rule: PropagationRule,
    shape: tuple[int, ...],
    bounds: tuple[float, float, float, float] | None = None,
    pixel: tuple[float, float] = (1, 1),
) -> tuple[float, float, float, float]:
    """Box with the rule's margins on every side, kept inside the slice (and `bounds`)."""
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


def inside(
    mask: NDArray[np.bool_], bounds: tuple[float, float, float, float] | None
) -> NDArray[np.bool_]:
    """The part of a (rows, columns) mask whose pixels lie within XYXY `bounds`."""
    if bounds is None:
        return mask
    x0, y0, x1, y1 = bounds
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.asarray(mask & (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))
