"""Masks on the slices between two others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["masks_between"]


def masks_between(
    first: NDArray[np.bool_],
    last: NDArray[np.bool_],
    count: int,
    step: tuple[float, float] = (1.0, 1.0),
) -> list[NDArray[np.bool_]]:
    """Compute the masks of `count` slices that lie evenly between two others.

    A pixel belongs to the object where its signed distance from the edge, linear from one slice to the
    other, is inside.

    Args:
        first: (rows, columns) mask before the gap.
        last: mask behind it, as large.
        count: slices of the gap.
        step: size of a pixel (row, column).

    Examples:
        >>> edge = np.arange(9)
        >>> (middle,) = masks_between((edge < 3)[None], (edge < 7)[None], 1)
        >>> int(middle.sum())
        5
    """
    before, behind = (_signed_distance(mask, step) for mask in (first, last))
    parts = [k / (count + 1) for k in range(1, count + 1)]
    return [np.asarray((1 - part) * before + part * behind > 0) for part in parts]


def _signed_distance(mask: NDArray[np.bool_], step: tuple[float, float]) -> NDArray[np.float64]:
    """Distance from the edge, positive inside."""
    inside = ndimage.distance_transform_edt(mask, sampling=step)
    outside = ndimage.distance_transform_edt(~mask, sampling=step)
    return np.asarray(inside - outside)
