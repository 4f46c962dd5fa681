"""Prompts as a model takes them: what is asked about one object on one slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.errors import PromptError
from promptseg.prompts import Box, Points

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SlicePrompt", "prompts_of_arrays"]

XY = tuple[float, float]
XYXY = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class SlicePrompt:
    """The prompts of one object on one slice, all in pixel indices of the slice.

    Attributes:
        box: (x0, y0, x1, y1), both ends inside.
        xy: (N, 2) clicks.
        labels: (N,) 1 inside, 0 outside, -1 ignored.
        mask: (rows, columns) boolean mask prompt, on the slice's own grid.
        logits: (1, 1, h, w) mask prompt: `Prediction.logits` of the same model, slices of this shape.

    Raises:
        PromptError: no prompt at all, clicks without labels, or two masks.
    """

    box: XYXY | None = None
    xy: tuple[XY, ...] = ()
    labels: tuple[int, ...] = ()
    mask: NDArray[np.bool_] | None = None
    logits: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.xy) != len(self.labels):
            raise PromptError(
                "one label 1 (inside) or 0 (outside) per point",
                f"{len(self.xy)} points with labels {list(self.labels)}",
                "give as many labels as points",
            )
        if self.mask is not None and self.logits is not None:
            raise PromptError("one mask as a prompt", "a mask and logits", "leave one out")
        if not self.kinds:
            raise PromptError("a box, a click or a mask", "none", "add a prompt")

    @classmethod
    def of(
        cls,
        box: Box | None = None,
        points: Points | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> SlicePrompt:
        """Convert a user's prompts on one slice to what a model takes."""
        xy, labels = (points.xy, points.labels) if points else ((), ())
        return cls(box.xyxy if box else None, xy, labels, mask)

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of prompts in it: "box", "point", "mask"."""
        given = {
            "box": self.box is not None,
            "point": bool(self.xy),
            "mask": self.has_mask,
        }
        return frozenset(kind for kind, there in given.items() if there)

    @property
    def has_mask(self) -> bool:
        """Tell whether a mask is part of it."""
        return self.mask is not None or self.logits is not None

    @property
    def is_single_point(self) -> bool:
        """Tell whether it is one click and nothing else, which may mean a part or the whole."""
        return self.kinds == {"point"} and len(self.xy) == 1


def prompts_of_arrays(
    boxes: ArrayLike | None,
    points: tuple[ArrayLike, ArrayLike] | None,
    logits: Tensor | None,
) -> list[SlicePrompt]:
    """Split arrays of the prompts of N objects into the prompts of each.

    Args:
        boxes: (N, 4) XYXY.
        points: (N, P, 2) x, y and (N, P) labels.
        logits: (N, 1, h, w) mask prompts.

    Raises:
        PromptError: arrays of different lengths, or none.
    """
    corners = None if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4)
    xy = None if points is None else np.asarray(points[0], np.float64)
    labels = None if points is None else np.asarray(points[1])
    counts = {len(each) for each in (corners, xy, labels, logits) if each is not None}
    if len(counts) != 1:
        raise PromptError(
            "boxes, points and masks for the same number of objects",
            " and ".join(map(str, sorted(counts))) or "none",
        )
    return [
        SlicePrompt(
            None if corners is None else tuple(corners[k].tolist()),
            () if xy is None else tuple((float(x), float(y)) for x, y in xy[k]),
            () if labels is None else tuple(int(v) for v in labels[k]),
            logits=None if logits is None else logits[k : k + 1],
        )
        for k in range(counts.pop())
    ]
