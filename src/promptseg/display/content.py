"""The part of an image worth showing: the body without the air around it, small objects enlarged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tile", "around", "content_of", "joined"]

Tile = tuple[int, int, int, int]
"""XYXY in stored pixel indices of a slice, both ends inside."""

_DARK = 16  # of 255: what is not brighter is air, or the border of a picture
_PART = 0.05  # of the largest bright region: smaller ones are a table, a letter, noise
_LEAST = 0.3  # of a side: less is an object in the dark and not a body
_MARGIN = 0.03
_MOST_PIXELS = 256  # a side is looked at in no more


def content_of(slices: Iterable[NDArray[np.uint8]]) -> Tile | None:
    """Return the box around what is bright on some slices of one image, with a margin.

    Args:
        slices: (rows, columns[, 3]) as they are shown, 0..255, all of one shape.

    Returns:
        The tile; None where nearly all is bright, or hardly anything.
    """
    found: Tile | None = None
    shape = (0, 0)
    for slice_ in slices:
        shape = slice_.shape[0], slice_.shape[1]
        tile = _bright(slice_.max(axis=2) if slice_.ndim == 3 else slice_)
        found = joined(found, tile)
    if found is None:
        return None
    left, top, right, bottom = around(found, _MARGIN, shape)
    shares = (right - left + 1) / shape[1], (bottom - top + 1) / shape[0]
    if min(shares) < _LEAST or min(shares) > 0.95:
        return None
    return left, top, right, bottom


def _bright(slice_: NDArray[np.uint8]) -> Tile | None:
    """The box of the large bright regions, to the pixels of a coarser grid."""
    from scipy import ndimage

    step = -(-max(slice_.shape) // _MOST_PIXELS)
    bright = ndimage.binary_opening(slice_[::step, ::step] > _DARK, iterations=2)
    labels, count = ndimage.label(bright)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.isin(labels, np.flatnonzero(sizes >= _PART * sizes.max()) + 1)
    rows, columns = np.nonzero(kept.any(axis=1))[0], np.nonzero(kept.any(axis=0))[0]
    last_row, last_column = slice_.shape[0] - 1, slice_.shape[1] - 1
    return (
        int(columns[0]) * step,
        int(rows[0]) * step,
        min(last_column, int(columns[-1] + 1) * step),
        min(last_row, int(rows[-1] + 1) * step),
    )


def joined(one: Tile | None, other: Sequence[float] | None) -> Tile | None:
    """Return the smallest tile that holds both; None adds nothing."""
    if other is None:
        return one
    other = [int(np.floor(v)) for v in other[:2]] + [int(np.ceil(v)) for v in other[2:]]
    if one is None:
        return other[0], other[1], other[2], other[3]
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def around(tile: Tile, share: float, shape: tuple[int, int], least: int = 1) -> Tile:
    """Return a tile with a margin, within the slice.

    Args:
        tile: what it is around.
        share: of its longer side, on each side.
        shape: (rows, columns) of the slice.
        least: pixels that the tile has at least, where the slice has.
    """
    longer = max(tile[2] - tile[0], tile[3] - tile[1]) + 1
    margin = max(1, round(share * longer))
    out = []
    for low, high, length in ((tile[0], tile[2], shape[1]), (tile[1], tile[3], shape[0])):
        more = max(margin, (least - (high - low + 1) + 1) // 2)
        out.append((max(0, low - more), min(length - 1, high + more)))
    (left, right), (top, bottom) = out
    return left, top, right, bottom
