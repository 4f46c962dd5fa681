"""Polygons with holes around the pixels of a mask, along the pixels' edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Polygon", "Ring", "area_of", "outlines"]

Ring = list[tuple[int, int]]
"""Corners (x, y) in order; the last one leads back to the first."""

Polygon = list[Ring]
"""The outline of a connected part, and those of its holes."""

_BLOCK = 2048  # rows that are looked at together
_BAND = 16  # rows whose edges are looked up together


def outlines(
    mask: NDArray[np.bool_], xs: Sequence[int] | None = None, ys: Sequence[int] | None = None
) -> list[Polygon]:
    """Return the connected parts of a mask as polygons.

    Pixels are connected along edges, not over corners. A point lies inside a polygon (even-odd, all of
    its rings taken together) exactly if it lies in a set pixel of the part.

    Args:
        mask: (rows, columns).
        xs: where the edges of the columns lie, one more than there are; 0, 1, 2, ... if not given.
        ys: where those of the rows lie.

    Returns:
        For every part its outer ring first, then its holes.

    Examples:
        >>> outlines(np.array([[True, True]]))
        [[[(0, 0), (2, 0), (2, 1), (0, 1)]]]
    """
    rows, columns, down = _all_corners(mask)
    if not rows.size:
        return []
    x_of = np.arange(mask.shape[1] + 1) if xs is None else np.asarray(xs)
    y_of = np.arange(mask.shape[0] + 1) if ys is None else np.asarray(ys)
    at_x, at_y = x_of[columns].tolist(), y_of[rows].tolist()
    outer: list[tuple[int, int, Ring]] = []
    holes: list[tuple[int, int, Ring]] = []
    ring_of = np.empty(rows.size, np.intp)
    for number, corners in enumerate(_rings(rows, columns, down)):
        ring_of[corners] = number
        first = corners[
            0
        ]  # the first of all in reading order: the ring goes right and down from it
        kind = outer if mask[rows[first], columns[first]] else holes
        kind.append((number, first, [(at_x[k], at_y[k]) for k in corners]))
    polygons = {number: [ring] for number, _, ring in outer}
    around = _around(rows, columns, down, ring_of)
    owner = {number: number for number in polygons}
    for number, first, ring in holes:  # in reading order: what lies to the left is known already
        owner[number] = owner[around(rows[first] - 1, columns[first])]
        polygons[owner[number]].append(ring)
    return list(polygons.values())


def area_of(polygons: Sequence[Polygon]) -> float:
    """Return the area of polygons, holes left out."""
    total = 0.0
    for outer, *holes in polygons:
        total += _area(outer) - sum(map(_area, holes))
    return total


def _area(ring: Ring) -> float:
    x, y = np.array(ring, np.float64).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _all_corners(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int8]]:
    """`_corners` of a mask, some rows at a time: they take several times as much memory as the mask."""
    height, width = mask.shape
    found = []
    for top in range(0, height + 1, _BLOCK):
        bottom = min(top + _BLOCK, height + 1)  # lines between rows, the first above all of them
        block = np.zeros((bottom - top + 1, width + 2), bool)
        first, last = max(top - 1, 0), min(bottom, height)
        block[first - top + 1 : last - top + 1, 1:-1] = mask[first:last]
        rows, *others = _corners(block)
        found.append((rows + top, *others))
    rows, columns, down = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, down


def _around(
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    down: NDArray[np.int8],
    ring_of: NDArray[np.intp],
) -> Callable[[int, int], int]:
    """What gives the ring whose vertical edge is the next to the left of a pixel."""
    order = np.lexsort((down, rows, columns))
    upper, lower = order[::2], order[1::2]
    top, bottom, left, ring = rows[upper], rows[lower], columns[upper], ring_of[upper]
    by_row: dict[int, NDArray[np.intp]] = {}

    def look(row: int, column: int) -> int:
        band = int(row) // _BAND
        if band not in by_row:
            meets = (top < (band + 1) * _BAND) & (bottom > band * _BAND)
            by_row[band] = np.flatnonzero(meets)
        some = by_row[band]
        fits = (top[some] <= row) & (row < bottom[some]) & (left[some] <= column)
        return int(ring[some[np.flatnonzero(fits)[-1]]])

    return look


def _corners(
    padded: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int8]]:
    """The corners of all outlines in reading order: rows, columns, whether the vertical edge goes down.

    Where two pixels touch at a corner alone there are two corners in one place, first the one whose
    horizontal edge goes left.
    """
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    set_pixels = a.astype(np.int8) + b + c + d
    odd = (set_pixels == 1) | (set_pixels == 3)
    falling, rising = a & d & ~b & ~c, b & c & ~a & ~d
    rows, columns = np.nonzero(odd)
    down = (c != d)[odd].astype(np.int8)  # an edge below parts the two lower pixels
    right = (b != d)[odd].astype(np.int8)
    for touching, ways in ((falling, ((0, 0), (1, 1))), (rising, ((1, 0), (0, 1)))):
        y, x = np.nonzero(touching)
        for vertical, horizontal in ways:
            rows, columns = np.append(rows, y), np.append(columns, x)
            down = np.append(down, np.full(y.size, vertical, np.int8))
            right = np.append(right, np.full(y.size, horizontal, np.int8))
    order = np.lexsort((right, columns, rows))
    return rows[order], columns[order], down[order]


def _rings(
    rows: NDArray[np.intp], columns: NDArray[np.intp], down: NDArray[np.int8]
) -> list[list[int]]:
    """Corners ring by ring, each from its first corner in reading order, along the row first."""
    count = rows.size
    along = np.arange(count) ^ 1  # corners are in reading order: the edges of a row join pairs
    by_column = np.lexsort((down, rows, columns))
    across = np.empty(count, np.intp)
    across[by_column] = by_column[np.arange(count) ^ 1]
    along_row, along_column = along.tolist(), across.tolist()
    seen, found = bytearray(count), []
    for start in range(count):
        if seen[start]:
            continue
        ring, at = [], start
        while True:
            ring.append(at)
            seen[at] = 1
            at = along_row[at]
            ring.append(at)
            seen[at] = 1
            at = along_column[at]
            if at == start:
                break
        found.append(ring)
    return found
