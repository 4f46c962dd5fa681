"""Answers on patches of any resolution, joined on one grid that has no more lines than they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.image import bounding_region
from promptseg.slides.layer import Layer, Patch

__all__ = ["Grid", "joined", "within"]

_MOST_CELLS = 1 << 28
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Grid:
    """An object on a slide: cells between lines, which lie wherever a pixel of some patch ends.

    Attributes:
        mask: (rows, columns) of cells.
        xs: where the edges of the columns lie, in pixels of the largest level; one more than there are.
        ys: where those of the rows lie.
    """

    mask: NDArray[np.bool_]
    xs: NDArray[np.int64]
    ys: NDArray[np.int64]

    @property
    def area(self) -> int:
        """Return the area that it covers, in pixels of the largest level."""
        widths, heights, total = np.diff(self.xs), np.diff(self.ys), 0
        for first in range(0, len(self.mask), _BLOCK):  # numbers take eight times as much as cells
            rows = slice(first, first + _BLOCK)
            total += int(heights[rows] @ (self.mask[rows] @ widths))
        return total


def joined(layers: Sequence[Layer]) -> Grid:
    """Join the layers of an object, one after the other: what each added is set, what it removed not.

    Raises:
        InputError: layers whose pixels do not fit each other at all, so that memory does not hold them.
    """
    parts = []
    for layer in layers:
        added, removed = layer.changed
        box = bounding_region(added if removed is None else added | removed)
        if box[0].stop > box[0].start:
            gone = None if removed is None else removed[box]
            parts.append((layer.patch, box, added[box], gone))
    if not parts:
        nothing = np.zeros(1, np.int64)
        return Grid(np.zeros((0, 0), bool), nothing, nothing)
    edges = [
        np.unique(np.concatenate([_edges(patch, box[k], k) for patch, box, _, _ in parts]))
        for k in range(2)
    ]
    cells = (edges[0].size - 1) * (edges[1].size - 1)
    if cells > _MOST_CELLS:
        raise InputError(
            f"an object whose regions have {_MOST_CELLS:,} pixels at most between them",
            f"{cells:,}",
            "begin another object for what lies far away",
        )
    mask = np.zeros((edges[0].size - 1, edges[1].size - 1), bool)
    for patch, box, added, removed in parts:
        own = [_edges(patch, box[k], k) for k in range(2)]
        first = [int(np.searchsorted(edges[k], own[k][0])) for k in range(2)]
        last = [int(np.searchsorted(edges[k], own[k][-1])) for k in range(2)]
        which = np.ix_(
            *(
                np.searchsorted(own[k], edges[k][first[k] : last[k]], side="right") - 1
                for k in range(2)
            )
        )
        cut = mask[first[0] : last[0], first[1] : last[1]]
        cut |= added[which]
        if removed is not None:
            cut &= ~removed[which]
    return Grid(mask, edges[1], edges[0])


def within(grid: Grid, patch: Patch) -> NDArray[np.bool_]:
    """Return an object on the pixels of a patch: it has those of which it covers half or more."""
    rows, columns = patch.shape
    x, y = patch.region.x, patch.region.y
    if not grid.mask.size:
        return np.zeros(patch.shape, bool)
    lines = [y + patch.step * np.arange(rows + 1), x + patch.step * np.arange(columns + 1)]
    parts, edges = [], []
    for own, wanted in zip((grid.ys, grid.xs), lines, strict=True):
        first = max(0, int(np.searchsorted(own, wanted[0], side="right")) - 1)
        last = min(own.size - 1, max(first, int(np.searchsorted(own, wanted[-1]))))
        parts.append(slice(first, last))
        edges.append(own[first : last + 1])
    down, across = (_shares(own, wanted) for own, wanted in zip(edges, lines, strict=True))
    cells = grid.mask[tuple(parts)].astype(np.float32)
    covered = _summed(_summed(cells, down, 0), across, 1)
    return np.asarray(covered >= patch.step**2 / 2)


def _edges(patch: Patch, part: slice, axis: int) -> NDArray[np.int64]:
    """Where the pixels of a part of a patch end, along rows (axis 0) or columns (1)."""
    first = patch.region.y if axis == 0 else patch.region.x
    return first + patch.step * np.arange(part.start, part.stop + 1, dtype=np.int64)


Pieces = tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]


def _shares(edges: NDArray[np.int64], lines: NDArray[np.int64]) -> Pieces:
    """What cells between `edges` share with pixels between `lines`: the cell, how much, the pixel."""
    low, high = max(edges[0], lines[0]), min(edges[-1], lines[-1])
    if low >= high:
        none = np.zeros(0, np.intp)
        return none, np.zeros(0, np.float32), np.zeros(lines.size - 1, np.intp)
    cuts = np.union1d(edges, lines)
    cuts = cuts[(cuts >= low) & (cuts <= high)]
    cells = np.searchsorted(edges, cuts[:-1], side="right") - 1
    pixels = np.searchsorted(lines, cuts[:-1], side="right") - 1
    # pixels without any cell are counted by the zero that _summed puts there
    counts = np.zeros(lines.size - 1, np.intp)
    np.add.at(counts, pixels, 1)
    return cells, np.diff(cuts).astype(np.float32), np.cumsum(counts) - counts


def _summed(values: NDArray[np.float32], pieces: Pieces, axis: int) -> NDArray[np.float32]:
    """Sums over the pieces of every pixel along an axis."""
    cells, lengths, starts = pieces
    shape = list(values.shape)
    shape[axis] = starts.size
    if not cells.size:
        return np.zeros(shape, np.float32)
    weights = lengths[:, None] if axis == 0 else lengths[None]
    taken = np.take(values, cells, axis) * weights
    before = np.zeros_like(np.take(taken, [0], axis))
    total = np.concatenate([before, np.cumsum(taken, axis, np.float64)], axis)
    ends = np.append(starts[1:], cells.size)
    return np.asarray(np.take(total, ends, axis) - np.take(total, starts, axis), np.float32)
