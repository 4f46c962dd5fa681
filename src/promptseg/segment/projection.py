"""Prompts for a slice, derived from the mask of its neighbour (MedicoSAM, section II-C)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from promptseg import _moved
from promptseg.models.protocol import SlicePrompt
from promptseg.models.protocol.tracking import Bounds
from promptseg.prompts import box_of_mask

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MEMORY",
    "MODES",
    "Bounds",
    "Mode",
    "deepest_point",
    "kinds_of",
    "project",
    "spread_points",
]

Mode = Literal[
    "box",
    "box+mask",
    "box+point",
    "box+points",
    "box+points+mask",
    "point",
    "point+mask",
    "points",
    "points+mask",
]
MODES: tuple[str, ...] = get_args(Mode)
MEMORY = "memory"
"""In place of a mode: the model's own memory of the slices before, and no prompt at all."""

_POSITIVES = 3

__getattr__ = _moved.moved_names(
    "promptseg.segment.projection", {"logits_of_mask": "promptseg.models.families.sam.mask_prompt"}
)


def kinds_of(mode: str) -> set[str]:
    """Return the kinds of prompts that a model must take for a mode: "box", "point", "mask"; none for
    memory.
    """
    if mode == MEMORY:
        return set()
    return {"point" if part == "points" else part for part in mode.split("+")}


def project(mode: str, mask: NDArray[np.bool_], logits: Tensor | None, box: Bounds) -> SlicePrompt:
    """Make the prompts for the next slice out of the mask of its neighbour.

    Args:
        mode: one of `MODES`.
        mask: (rows, columns) mask of the neighbour, not empty.
        logits: the model's own, of that mask; the mask itself is the mask prompt if there are none.
        box: XYXY of the mask, enlarged as the rule says.
    """
    parts = mode.split("+")
    xy: list[tuple[float, float]] = []
    labels: list[int] = []
    if "point" in parts:
        xy, labels = [deepest_point(mask)], [1]
    if "points" in parts:
        inside = spread_points(mask, _POSITIVES)
        outside = _corners_outside(mask, box)
        xy, labels = inside + outside, [1] * len(inside) + [0] * len(outside)
    has_mask = "mask" in parts
    return SlicePrompt(
        box if "box" in parts else None,
        tuple(xy),
        tuple(labels),
        mask if has_mask and logits is None else None,
        logits if has_mask else None,
    )


def deepest_point(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (x, y) of the pixel farthest inside a mask that is not empty; the edge counts as
    outside.
    """
    depth, left, top = _depth(mask)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column + left), float(row + top)


def spread_points(mask: NDArray[np.bool_], count: int) -> list[tuple[float, float]]:
    """Return up to `count` points (x, y) well inside a mask, far from each other, the deepest first."""
    depth, left, top = _depth(mask)
    rows, columns = np.nonzero(depth >= depth.max() / 2)
    candidates = np.stack([columns, rows], axis=1).astype(np.float64)
    chosen = [int(depth[rows, columns].argmax())]
    nearest = np.full(len(candidates), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.linalg.norm(candidates - candidates[chosen[-1]], axis=1))
        if nearest.max() < 2:
            break
        chosen.append(int(nearest.argmax()))
    return [(float(x + left), float(y + top)) for x, y in candidates[chosen]]


def _depth(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int, int]:
    """Distance to the outside within the mask's own box, and the box's left and top."""
    from scipy import ndimage

    box = box_of_mask(mask)
    assert box is not None, "a mask that is not empty"
    x0, y0, x1, y1 = box
    framed = np.pad(mask[y0 : y1 + 1, x0 : x1 + 1], 1)
    return ndimage.distance_transform_edt(framed)[1:-1, 1:-1], x0, y0


def _corners_outside(mask: NDArray[np.bool_], box: Bounds) -> list[tuple[float, float]]:
    x0, y0, x1, y1 = box
    corners = [(x, y) for y in (y0, y1) for x in (x0, x1)]
    return [(x, y) for x, y in corners if not mask[round(y), round(x)]]
