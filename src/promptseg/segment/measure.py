"""Sizes of an object: volume, area, and the bidirectional measurement of RECIST 1.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from promptseg.geometry import Axis, Geometry, axis_position
from promptseg.image import Segment

__all__ = ["Measurements", "long_and_short_axis", "measure"]


class Measurements(Mapping[str, Any]):
    """Measurements of an object, made by `measure` when they are first asked for: not at every click.

    Args:
        segment: the object.
        geometry: grid of the image.
        axis: axis of the slices.
    """

    def __init__(self, segment: Segment, geometry: Geometry, axis: Axis = "z") -> None:
        self._object = Segment(segment.name, segment.label, segment.crop, segment.region)
        self._geometry, self._axis = geometry, axis

    @cached_property
    def _found(self) -> dict[str, Any]:
        return measure(self._object, self._geometry, self._axis)

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(self._found)


def measure(segment: Segment, geometry: Geometry, axis: Axis = "z") -> dict[str, Any]:
    """Measure one object.

    Args:
        segment: the object.
        geometry: grid of the image.
        axis: axis of the slices; the RECIST axes lie in one of them.

    Returns:
        `voxels`; `area_mm2` or `area_px` (of the largest slice in volumes); `volume_ml` in volumes
        with millimetres; `long_axis` and `short_axis` with their `unit`, and the `slice` with the
        longest long axis (Eisenhauer et al., 2009: longest diameter in the plane, and the longest
        one perpendicular to it). Lengths run between the outer edges of pixels. None where nothing
        was segmented.
    """
    voxels = int(segment.crop.sum())
    found: dict[str, Any] = {"voxels": voxels}
    steps = geometry.in_plane(axis if geometry.ndim == 3 else "z")
    if geometry.ndim == 2:
        planes = [(0, segment.crop)]
    else:
        if geometry.unit == "mm":
            found["volume_ml"] = _rounded(voxels * geometry.voxel_volume / 1000, 4)
        along = axis_position(axis)
        start = segment.region[along].start
        planes = [(start + k, plane) for k, plane in enumerate(np.moveaxis(segment.crop, along, 0))]
    pixel = float(np.linalg.norm(np.cross(*steps.T)))
    largest = max((int(plane.sum()) for _, plane in planes), default=0)
    found["area_mm2" if geometry.unit == "mm" else "area_px"] = _rounded(largest * pixel, 3)
    found.update({"long_axis": None, "short_axis": None, "unit": _unit(geometry)})
    outlines = {index: _hull(plane, steps) for index, plane in planes if plane.any()}
    if outlines:
        lengths = {index: _rounded(_diameter(hull)[0], 6) for index, hull in outlines.items()}
        index = max(lengths, key=lengths.__getitem__)  # of ties, the first
        long_axis, short_axis = _axes(outlines[index])
        found.update({"long_axis": _rounded(long_axis, 3), "short_axis": _rounded(short_axis, 3)})
        if geometry.ndim == 3:
            found["slice"] = index
    return found


def _rounded(value: float, decimals: int) -> float:
    """So many decimals, but four digits where they would leave one: cells measure micrometres."""
    return round(value, decimals) if value >= 10.0 ** (1 - decimals) else float(f"{value:.4g}")


def long_and_short_axis(
    plane: NDArray[np.bool_], steps: NDArray[np.float64]
) -> tuple[float, float]:
    """Measure the longest diameter of a (rows, columns) mask, and the longest chord perpendicular to
    it.

    Args:
        plane: non-empty mask.
        steps: (3, 2) world step per column and per row.

    Returns:
        Both lengths in the unit of `steps`, of the convex hull of the pixels' edge midpoints.
    """
    return _axes(_hull(plane, steps))


def _hull(plane: NDArray[np.bool_], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) corners of the convex hull of a mask's pixels, in the unit of `steps`."""
    outline = _edge_midpoints(plane)
    basis = _orthonormal(steps)
    points = outline @ (basis.T @ steps).T
    try:
        corners = ConvexHull(points).vertices
    except QhullError:  # cannot happen for pixels of finite size, but a line has a length too
        corners = np.arange(len(points))
    hull: NDArray[np.float64] = points[corners]
    return hull


def _diameter(hull: NDArray[np.float64]) -> tuple[float, int, int]:
    """The longest distance between two corners, and which those are."""
    distances = cdist(hull, hull)
    i, j = np.unravel_index(distances.argmax(), distances.shape)
    return float(distances[i, j]), int(i), int(j)


def _axes(hull: NDArray[np.float64]) -> tuple[float, float]:
    """The diameter, and the longest chord perpendicular to it."""
    long_axis, i, j = _diameter(hull)
    along = (hull[j] - hull[i]) / long_axis
    across = np.array([-along[1], along[0]])
    return long_axis, _longest_chord(hull @ along, hull @ across)


def _longest_chord(position: NDArray[np.float64], height: NDArray[np.float64]) -> float:
    """Longest chord of a convex polygon perpendicular to an axis.

    The chord's length is piecewise linear along the axis with corners at the vertices, so its
    maximum lies at one of them.
    """
    following = np.roll(np.arange(len(position)), -1)
    best = 0.0
    for t in position:
        a, b = position, position[following]
        crosses = (np.minimum(a, b) <= t) & (t <= np.maximum(a, b)) & (a != b)
        fraction = (t - a[crosses]) / (b[crosses] - a[crosses])
        ends = height[crosses] + fraction * (height[following][crosses] - height[crosses])
        ends = np.concatenate([ends, height[position == t]])
        best = max(best, float(ends.max() - ends.min()))
    return best


def _edge_midpoints(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 2) x, y midpoints of the four edges of the outermost pixels of every row and column."""
    sides = []
    for lines, reach in ((plane, (0.5, 0.0)), (plane.T, (0.0, 0.5))):
        occupied = np.flatnonzero(lines.any(axis=1))
        first = lines[occupied].argmax(axis=1)
        last = lines.shape[1] - 1 - lines[occupied, ::-1].argmax(axis=1)
        for ends, sign in ((first, -1), (last, 1)):
            xy = (ends, occupied) if reach[0] else (occupied, ends)
            sides.append(np.stack(xy, axis=1) + sign * np.array(reach))
    return np.concatenate(sides)


def _orthonormal(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 2) orthonormal basis of the plane that `steps` span."""
    basis, _ = np.linalg.qr(steps)
    return basis


def _unit(geometry: Geometry) -> str:
    return "mm" if geometry.unit == "mm" else "pixel"
