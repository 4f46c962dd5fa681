"""Masks of a sample on the grid on which losses are computed: the network's input, coarser."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptseg.models.preprocess import InputTransform

__all__ = ["extent_on", "raster", "raster_classes"]


def raster(mask: NDArray[np.bool_], transform: InputTransform, side: int) -> NDArray[np.bool_]:
    """Return a mask on the grid of the network's input, by nearest neighbours (MedSAM, Methods).

    An object so small that no centre of a cell lies in it takes the cells that it touches.

    Args:
        mask: (rows, columns) of the slice.
        transform: how the slice lies in the input.
        side: cells along each side of the grid.

    Returns:
        (side, side).
    """
    rows, columns = (_nearest(transform, axis, side) for axis in (0, 1))
    out = np.zeros((side, side), dtype=bool)
    out[: len(rows), : len(columns)] = mask[np.ix_(rows, columns)]
    if not out.any() and mask.any():
        y, x = np.nonzero(mask)
        step = side / transform.size
        down = np.clip(((y + 0.5) * transform.scale[1] * step).astype(int), 0, len(rows) - 1)
        across = np.clip(((x + 0.5) * transform.scale[0] * step).astype(int), 0, len(columns) - 1)
        out[down, across] = True
    return out


def raster_classes(
    classes: NDArray[np.int64], transform: InputTransform, side: int
) -> NDArray[np.int64]:
    """Return classes on the grid of the network's input, by nearest neighbours; see `raster`.

    A class so small that no centre of a cell lies in it takes the cells that it touches.

    Args:
        classes: (rows, columns) of the slice, 0 for background.
        transform: how the slice lies in the input.
        side: cells along each side of the grid.

    Returns:
        (side, side), -1 where there is no image.
    """
    rows, columns = (_nearest(transform, axis, side) for axis in (0, 1))
    out = np.full((side, side), -1, np.int64)
    out[: len(rows), : len(columns)] = classes[np.ix_(rows, columns)]
    for lost in np.setdiff1d(classes, out):
        out[raster(classes == lost, transform, side)] = lost
    return out


def extent_on(transform: InputTransform, side: int) -> tuple[int, int]:
    """Tell how many rows and columns of the grid the slice takes."""
    return len(_nearest(transform, 0, side)), len(_nearest(transform, 1, side))


def _nearest(transform: InputTransform, axis: int, side: int) -> NDArray[np.int64]:
    """For each row (or column) of the grid that is image, the row of the slice at its centre."""
    cells = max(1, round(transform.resized[axis] * side / transform.size))
    place = (np.arange(cells) + 0.5) * transform.original[axis] / cells
    return np.minimum(place.astype(np.int64), transform.original[axis] - 1)
