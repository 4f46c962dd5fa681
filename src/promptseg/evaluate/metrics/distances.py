"""Exact distances from the points of one surface to the nearest point of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from promptseg.evaluate.metrics.surface import Surface, SurfaceDistances

__all__ = ["surface_distances"]


def surface_distances(
    start: Surface, target: Surface, spacing: tuple[float, ...], limit: float = np.inf
) -> SurfaceDistances:
    """Distance from every point of `start` to the nearest point of `target`.

    Args:
        start: a surface.
        target: another one on the same grid, not empty.
        spacing: length of a step along each axis of the grid.
        limit: larger distances need not be known and are infinite.
    """
    apart = np.flatnonzero(~_is_in(target, start.points))
    distances = np.zeros(len(start.points))
    if len(apart):
        here = np.stack(np.unravel_index(start.points[apart], start.shape), axis=1)
        there = np.stack(np.unravel_index(target.points, target.shape), axis=1)
        distances[apart] = _nearest(here, there, np.array(spacing), limit)
    return SurfaceDistances(distances, start.sizes)


def _is_in(surface: Surface, points: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `points` belong to `surface`."""
    place = np.searchsorted(surface.points, points)
    return np.asarray(surface.points[np.minimum(place, len(surface.points) - 1)] == points)


def _nearest(
    here: NDArray[np.int64], there: NDArray[np.int64], spacing: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    tree = cKDTree(there * spacing, balanced_tree=False, compact_nodes=False)
    # A bound is exclusive, and the tree's distances carry the rounding of two positions: at a
    # distance of exactly the limit both would matter.
    _, nearest = tree.query(here * spacing, distance_upper_bound=limit * (1 + 1e-9) + 1e-9)
    reached = nearest < len(there)
    distances = np.full(len(here), np.inf)
    steps = (here[reached] - there[nearest[reached]]) * spacing
    distances[reached] = np.sqrt((steps**2).sum(axis=1))
    return distances
