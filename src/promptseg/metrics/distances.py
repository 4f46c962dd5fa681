"""Exact distances from the points of one surface to the nearest point of another.

Most points of a close prediction have the other surface within a few steps, so every point first looks
around in ever larger circles. The few that are left, or all of a mask in the wrong place, ask a k-d
tree. Distances are computed from whole steps of the grid in both cases: two points exactly 2 mm apart
are so without rounding of their positions, which decides at the tolerance of NSD.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from promptseg.metrics.surface import Surface, SurfaceDistances

__all__ = ["surface_distances"]

_REACH = 6
"""Farthest step along an axis in the search around a point."""
_PLACES = 80
"""Places looked at around a point: with more, the time saved in the tree is spent here."""


def surface_distances(
    start: Surface, target: Surface, spacing: tuple[float, ...], limit: float = np.inf
) -> SurfaceDistances:
    """Return the distance from every point of `start` to the nearest point of `target`.

    Args:
        start: a surface.
        target: another one on the same grid, not empty.
        spacing: length of a step along each axis of the grid.
        limit: larger distances need not be known and may be infinite.
    """
    distances, reach = _look_around(start, target, spacing, limit)
    left = np.flatnonzero(np.isinf(distances))
    if len(left) and reach < limit:
        here, there = _places(start)[left], _places(target)
        distances[left] = _ask_tree(here, there, np.array(spacing), limit)
    return SurfaceDistances(distances, start.sizes)


def _look_around(
    start: Surface, target: Surface, spacing: tuple[float, ...], limit: float
) -> tuple[NDArray[np.float64], float]:
    """Distances of points with the target nearby, infinite for the rest; how far was looked."""
    padded = np.zeros([n + 2 * _REACH for n in target.shape], dtype=bool)
    padded[(slice(_REACH, -_REACH),) * padded.ndim].flat[target.points] = True
    places = np.ravel_multi_index(tuple((_places(start) + _REACH).T), padded.shape)
    steps, lengths = _nearest_steps(spacing)
    shifts = steps @ (np.array(padded.strides) // padded.itemsize)

    occupied = padded.ravel()
    distances = np.full(len(places), np.inf)
    left = np.arange(len(places))
    for shift, length in zip(shifts, lengths, strict=True):
        if not len(left) or length > limit:
            return distances, np.inf
        met = occupied[places + shift]
        distances[left[met]] = length
        left, places = left[~met], places[~met]
    return distances, float(lengths[-1])


@lru_cache(maxsize=64)
def _nearest_steps(
    spacing: tuple[float, ...],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest grid steps around a point, by length, and the lengths.

    No step that is not among them is shorter than the last one.
    """
    steps = np.array(list(product(range(-_REACH, _REACH + 1), repeat=len(spacing))))
    lengths = np.sqrt(((steps * spacing) ** 2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    complete = int(np.count_nonzero(lengths < (_REACH + 1) * min(spacing)))
    order = order[: min(_PLACES, complete)]
    return steps[order], lengths[order]


def _ask_tree(
    here: NDArray[np.int64], there: NDArray[np.int64], spacing: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Distances from points to the nearest of others; infinite beyond `limit`."""
    tree = cKDTree(there * spacing, leafsize=32, balanced_tree=False, compact_nodes=False)
    # A bound is exclusive, and the tree's own distances are rounded.
    _, nearest = tree.query(here * spacing, distance_upper_bound=limit * (1 + 1e-9) + 1e-9)
    reached = nearest < len(there)
    distances = np.full(len(here), np.inf)
    steps = (here[reached] - there[nearest[reached]]) * spacing
    distances[reached] = np.sqrt((steps**2).sum(axis=1))
    return distances


def _places(surface: Surface) -> NDArray[np.int64]:
    """(n, axes) indices of the points of a surface."""
    return np.stack(np.unravel_index(surface.points, surface.shape), axis=1)
