"""Masks <-> closed polygons in one plane, so that a mask becomes polygons and the same mask again.

Coordinates are (x, y) = (column, row), whole numbers at pixel centres. Outlines run along the edges
of pixels, so they enclose exactly the area of the mask and no pixel centre lies on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["filled", "outlines", "rings"]

Polygon = NDArray[np.float64]
_Vertex = tuple[int, int]
_Turn = Any  # max or min


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Return one polygon (n, 2) per connected part of a mask, through the corners of its pixels.

    Parts that touch at a corner only are parts of their own. A hole is joined to the outline by a
    channel of no width (a "keyhole"), so that the polygon alone, filled by any rule, leaves it free.

    Args:
        mask: (y, x).
    """
    found = []
    parts, _ = ndimage.label(mask)
    for number, region in enumerate(ndimage.find_objects(parts), 1):
        corner = np.array([region[1].start, region[0].start]) - 0.5
        loops = _loops(parts[region] == number)
        found.append(_without_straights(_joined(loops)) + corner)
    return found


def rings(mask: NDArray[np.bool_]) -> list[list[Polygon]]:
    """Return the outlines of a mask with its holes as rings of their own, per connected part.

    Args:
        mask: (y, x).

    Returns:
        For each part its outer ring, then those of its holes, which run the other way round; (n, 2)
        each, corners of pixels counted from the corner of the first one: a pixel is (0, 0) to (1, 1).
    """
    found = []
    parts, _ = ndimage.label(mask)
    for number, region in enumerate(ndimage.find_objects(parts), 1):
        corner = np.array([region[1].start, region[0].start], dtype=np.float64)
        loops = _loops(parts[region] == number, turn=min)
        found.append([_without_straights(loop) + corner for loop in loops])
    return found


def filled(polygons: Iterable[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask of the pixels (y, x) whose centres lie inside an odd number of polygons.

    So a polygon inside another one is a hole, and a polygon with a keyhole keeps its hole. Centres on
    an edge belong to the side of lower coordinates.

    Args:
        polygons: (n, 2) each; the last point is joined to the first.
        shape: (rows, columns) of the grid; what lies outside is cut off.
    """
    rows, columns = shape
    crossings = np.zeros((rows, columns + 1), dtype=np.uint32)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        low = np.minimum(start[:, 1], end[:, 1])
        first = np.clip(np.ceil(low), 0, rows).astype(int)
        last = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, rows).astype(int)
        counts = last - first  # rows y with low <= y < high
        edge = np.repeat(np.arange(len(polygon)), counts)
        y = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        rise = end[edge, 1] - start[edge, 1]
        x = start[edge, 0] + (y - start[edge, 1]) * (end[edge, 0] - start[edge, 0]) / rise
        np.add.at(crossings, (y, np.clip(np.ceil(x), 0, columns).astype(int)), 1)
    return (np.cumsum(crossings, axis=1)[:, :columns] % 2).astype(bool)


def _loops(part: NDArray[np.bool_], turn: _Turn = max) -> list[list[_Vertex]]:
    """The closed boundaries of one connected part, corner by corner, the part on the right hand.

    The outer boundary comes first, then the holes by their leftmost corner. Where two boundaries
    meet in a corner, `max` goes on to the right: pixels that touch there alone are apart, and a
    hole that touches the outside is a bay of it. `min` goes to the left: holes are rings of their
    own, and no ring meets itself.
    """
    framed = np.pad(part, 1).astype(np.int8)
    down = np.diff(framed, axis=1)[1:-1]  # -1: the part is left of this edge; 1: right of it
    along = np.diff(framed, axis=0)[:, 1:-1]  # -1: the part is above this edge; 1: below it
    next_of: dict[_Vertex, list[_Vertex]] = {}

    def add(edges: NDArray[np.bool_], from_: _Vertex, to: _Vertex) -> None:
        for y, x in np.argwhere(edges).tolist():
            start = (x + from_[0], y + from_[1])
            next_of.setdefault(start, []).append((x + to[0], y + to[1]))

    add(along == 1, (0, 0), (1, 0))
    add(along == -1, (1, 0), (0, 0))
    add(down == -1, (0, 0), (0, 1))
    add(down == 1, (0, 1), (0, 0))
    loops = []
    for start in sorted(next_of):  # from the left: the first loop is the outer one
        if start not in next_of:
            continue
        loop, before, at = [start], start, next_of[start][0]
        _take(next_of, start, at)
        while at != start:
            loop.append(at)
            before, at = at, _next(before, at, next_of, turn)
            _take(next_of, before, at)
        loops.append(loop)
    return loops


def _next(
    before: _Vertex, at: _Vertex, next_of: dict[_Vertex, list[_Vertex]], turn: _Turn
) -> _Vertex:
    """Where to go on; see `_loops`."""
    ways = next_of[at]
    if len(ways) == 1:
        return ways[0]
    dx, dy = at[0] - before[0], at[1] - before[1]
    chosen: _Vertex = turn(ways, key=lambda to: dx * (to[1] - at[1]) - dy * (to[0] - at[0]))
    return chosen


def _take(next_of: dict[_Vertex, list[_Vertex]], start: _Vertex, to: _Vertex) -> None:
    next_of[start].remove(to)
    if not next_of[start]:
        del next_of[start]


def _joined(loops: list[list[_Vertex]]) -> list[_Vertex]:
    """One loop: every hole is reached from the boundary to the left of its leftmost corner."""
    loop_of = dict.fromkeys(loops[0], 0)
    reached_from: dict[tuple[int, _Vertex], list[int]] = {}
    for number, inner in enumerate(loops[1:], 1):
        x, y = inner[0]
        while (x, y) not in loop_of:
            x -= 1
        reached_from.setdefault((loop_of[x, y], (x, y)), []).append(number)
        loop_of.update(dict.fromkeys(inner, number))
    whole = loops[0]
    for number in reversed(range(len(loops))):  # what is reached from a hole comes after it
        whole = []
        for vertex in loops[number]:
            whole.append(vertex)
            for hole in reached_from.pop((number, vertex), ()):
                whole += [*loops[hole], loops[hole][0], vertex]
        loops[number] = whole
    return whole


def _without_straights(loop: list[_Vertex]) -> Polygon:
    """The loop without corners at which it goes straight on."""
    points = np.array(loop, dtype=np.float64)
    before = np.sign(points - np.roll(points, 1, axis=0))
    after = np.sign(np.roll(points, -1, axis=0) - points)
    return np.asarray(points[(before != after).any(axis=1)])
