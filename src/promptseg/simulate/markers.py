"""Simulated sparse markers: the long and short axis that a radiologist would draw on a slice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from promptseg.prompts import Marker
from promptseg.prompts.markers import Line

__all__ = ["axis_lines", "markers_of_labels"]


def axis_lines(
    mask: NDArray[np.bool_], pixel: tuple[float, float] = (1.0, 1.0)
) -> tuple[Line, Line | None] | None:
    """Return the longest line between two pixels of a mask, and the longest one across it.

    Args:
        mask: (rows, columns).
        pixel: width and height of a pixel in mm.

    Returns:
        Both lines as ((x, y), (x, y)) pixel indices; the short one is None for a mask one pixel wide.
        None for fewer than two pixels.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) < 2:
        return None
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:  # pixels in one line
        hull = points
    i, j = np.unravel_index(cdist(hull * pixel, hull * pixel).argmax(), (len(hull), len(hull)))
    long = (hull[i], hull[j])
    along = (long[1] - long[0]) * pixel
    along /= np.linalg.norm(along)
    return _line(*long), _across(points, np.array(pixel), along)


def _across(
    points: NDArray[np.float64], pixel: NDArray[np.float64], along: NDArray[np.float64]
) -> Line | None:
    """The longest line perpendicular to `along`, within half a pixel."""
    position = points * pixel @ along
    height = points * pixel @ np.array([-along[1], along[0]])
    best: tuple[float, Line | None] = (0.0, None)
    for centre in np.unique(position.round(3)):
        near = np.flatnonzero(np.abs(position - centre) <= pixel.min() / 2)
        low, high = near[height[near].argmin()], near[height[near].argmax()]
        length = float(height[high] - height[low])
        if length > best[0]:
            best = (length, _line(points[low], points[high]))
    return best[1]


def markers_of_labels(
    labels: NDArray[np.bool_], every: int, name: str, pixel: tuple[float, float] = (1.0, 1.0)
) -> Iterator[Marker]:
    """Yield markers on every `every`-th slice of an object, from its first slice to its last.

    Args:
        labels: (z, y, x) mask of the object.
        every: distance between marked slices (MedSAM's annotators: 3 to 10).
        name: of the object.
        pixel: width and height of a pixel in mm.
    """
    occupied = [int(k) for k in np.flatnonzero(labels.any(axis=(1, 2)))]
    usable = [k for k in occupied if axis_lines(labels[k], pixel)]
    if not usable:
        return
    first, last = usable[0], usable[-1]
    wanted = [*range(first, last, every), last]
    for k in wanted:
        nearest = min(usable, key=lambda u: (abs(u - k), u))
        if nearest != k and nearest in wanted:
            continue
        lines = axis_lines(labels[nearest], pixel)
        assert lines is not None
        yield Marker(*lines, nearest, name, "z")


def _line(a: NDArray[np.float64], b: NDArray[np.float64]) -> Line:
    return (float(a[0]), float(a[1])), (float(b[0]), float(b[1]))
