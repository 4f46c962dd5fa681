"""Clean-up of masks: off unless asked for, and recorded when on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.geometry import Axis, axis_position

__all__ = ["fill_holes", "largest_component", "smooth_across_slices"]


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest part of a 2D or 3D mask, connected through faces, edges or corners."""
    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def fill_holes(mask: NDArray[np.bool_], axis: Axis = "z") -> NDArray[np.bool_]:
    """Fill background that a slice's mask encloses; slices of a volume are taken along `axis`."""
    if mask.ndim == 2:
        return np.asarray(ndimage.binary_fill_holes(mask))
    along = axis_position(axis)
    filled = [ndimage.binary_fill_holes(part) for part in np.moveaxis(mask, along, 0)]
    return np.moveaxis(np.array(filled, dtype=bool), 0, along)


def smooth_across_slices(
    mask: NDArray[np.bool_], reach: int, axis: Axis = "z"
) -> NDArray[np.bool_]:
    """Replace each voxel by the majority vote over `reach` slices on either side.

    The object keeps its first and last slice: near its ends the vote counts only slices within.
    """
    along = axis_position(axis)
    slices = np.moveaxis(mask, along, 0)
    occupied = np.flatnonzero(slices.any(axis=(1, 2)))
    if reach == 0 or len(occupied) == 0:
        return mask
    first, last = int(occupied[0]), int(occupied[-1])
    out = np.zeros_like(slices)
    for k in range(first, last + 1):
        low, high = max(first, k - reach), min(last, k + reach)
        reach_here = min(k - low, high - k)  # symmetric, so that the ends do not shrink
        votes = slices[k - reach_here : k + reach_here + 1].sum(axis=0)
        out[k] = 2 * votes > 2 * reach_here + 1
    return np.moveaxis(out, 0, along)
