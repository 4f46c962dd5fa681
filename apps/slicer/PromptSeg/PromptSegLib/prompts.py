"""Markups, as points in space, become prompts in voxels; what is sent is as docs/server.md has it."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from PromptSegLib.geometry import AXES, Grid, planar
from PromptSegLib.problems import Problem

__all__ = ["box_on_slice", "clicks", "lines", "region"]

Body = Dict[str, Any]
Points = Sequence[Sequence[float]]


def clicks(grid: Grid, inside: Points, outside: Points, axis: str) -> List[Body]:
    """Points in (RAS) and beside the object -> one prompt for every slice that has some.

    Raises:
        Problem: none, or one beside the volume.
    """
    labelled = [(p, 1) for p in inside] + [(p, 0) for p in outside]
    if not labelled:
        raise Problem("expected at least one point, got none; click on the object")
    k, (column, row) = AXES.index(axis), planar(axis)
    by_slice: Dict[int, List[List[float]]] = {}
    for ijk, (_, label) in zip(grid.placed([p for p, _ in labelled]), labelled):
        here = by_slice.setdefault(round(float(ijk[k])), [])
        here.append([float(ijk[column]), float(ijk[row]), label])
    return [{"axis": axis, "slice": s, "points": by_slice[s]} for s in sorted(by_slice)]


def region(grid: Grid, corners: Points, axis: str) -> Body:
    """The eight corners of a region of interest -> the smallest box of voxels around it, in the volume.

    Raises:
        Problem: it lies beside the volume.
    """
    low, high = _bounds(grid, corners)
    return {"axis": axis, "box3d": [*low.tolist(), *high.tolist()]}


def box_on_slice(
    grid: Grid, corners: Points, axis: str, top: Optional[int] = None, bottom: Optional[int] = None
) -> Body:
    """A rectangle (corners of a region, however thick) on a slice, or on all from one to another.

    With both ends the rectangle is placed on the slice in the middle of them, and neither prompts nor
    masks leave the box: top and bottom slice and a box in the middle.

    Raises:
        Problem: it lies beside the volume, or one end is given alone.
    """
    k, (column, row) = AXES.index(axis), planar(axis)
    if (top is None) != (bottom is None):
        raise Problem(
            "expected a top and a bottom slice, or neither, got one; set the other one, too"
        )
    low, high = _bounds(grid, corners)
    if top is None or bottom is None:
        middle = round(float(low[k] + high[k]) / 2)
        flat = [low[column], low[row], high[column], high[row]]
        return {"axis": axis, "slice": middle, "box": [float(v) for v in flat]}
    low[k], high[k] = min(top, bottom), max(top, bottom)
    return {"axis": axis, "box3d": [*low.tolist(), *high.tolist()]}


def lines(grid: Grid, ends: Sequence[Points], axis: str) -> List[Body]:
    """Lines as drawn for RECIST -> a marker for every slice: the longest line, and a second one.

    Raises:
        Problem: a line across slices, three lines on one slice, or lines on one slice alone.
    """
    k, plane = AXES.index(axis), list(planar(axis))
    by_slice: Dict[int, List[Tuple[float, List[List[float]]]]] = {}
    for line in ends:
        ijk = grid.placed(line)
        if len(ijk) != 2:
            raise Problem(f"expected lines of two ends, got one of {len(ijk)}; place both ends")
        slices = {round(float(v)) for v in ijk[:, k]}
        if len(slices) != 1:
            raise Problem(
                f"expected both ends of a line on one slice along {axis}, got {sorted(slices)}"
            )
        length = float(np.linalg.norm(np.subtract(*np.asarray(line, float))))
        by_slice.setdefault(slices.pop(), []).append((length, ijk[:, plane].tolist()))
    if len(by_slice) < 2:
        raise Problem(
            f"expected lines on at least two slices, got {len(by_slice)}; draw one on another"
        )
    found = []
    for index in sorted(by_slice):
        here = sorted(by_slice[index], key=lambda known: -known[0])
        if len(here) > 2:
            raise Problem(f"expected one or two lines on a slice, got {len(here)} on {index}")
        marker = {"long": here[0][1]}
        if len(here) == 2:
            marker["short"] = here[1][1]
        found.append({"axis": axis, "slice": index, "marker": marker})
    return found


def _bounds(grid: Grid, corners: Points) -> Tuple[np.ndarray, np.ndarray]:
    """The lowest and highest IJK of corners, within the volume."""
    found = grid.index(corners)
    low, high, last = found.min(axis=0), found.max(axis=0), grid.size - 1
    if (high < -0.5).any() or (low > last + 0.5).any():
        raise Problem("expected a region that touches the volume, got one beside it; move it")
    return np.clip(low, 0, last), np.clip(high, 0, last)
