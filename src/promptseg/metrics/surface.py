"""The surface of a mask as weighted points, and what the distances between two surfaces amount to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.metrics.elements import element_sizes

__all__ = ["Surface", "SurfaceDistances", "surface_of"]

# Shares of a surface that differ by less than this are equal: sums of sizes carry rounding errors, and
# a percentile that falls exactly between two elements must not depend on them.
_EQUAL_SHARE = 1e-9


class Surface(NamedTuple):
    """Surface where a mask borders on its outside.

    Attributes:
        shape: of the grid of corners, one more than the mask along each axis.
        points: (n,) flat indices into that grid, ascending: the corners at which voxels of the mask
            and of its outside meet. Beyond the array everything is outside.
        sizes: (n,) length (2D) or area (3D) of the surface around each, in the unit of the spacing.
    """

    shape: tuple[int, ...]
    points: NDArray[np.int64]
    sizes: NDArray[np.float64]


def surface_of(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> Surface:
    """Return the surface of a mask (y, x) or (z, y, x) whose pixels have sides of `spacing`."""
    codes = _neighbour_codes(mask)
    full = 2**2**mask.ndim - 1
    # Counted from 1, both the codes of no surface (none inside, all inside) lie at the upper end.
    points = np.flatnonzero(codes - np.uint8(1) < full - 1)
    return Surface(codes.shape, points, element_sizes(spacing)[codes.ravel()[points]])


def _neighbour_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """For every corner one bit per pixel or voxel around it, see `elements`."""
    codes = np.pad(mask, 1).view(np.uint8)
    for bits, axis in enumerate(reversed(range(mask.ndim))):
        before = codes[(slice(None),) * axis + (slice(None, -1),)]
        after = codes[(slice(None),) * axis + (slice(1, None),)]
        codes = before | after << np.uint8(1 << bits)
    return codes


class SurfaceDistances(NamedTuple):
    """Distance from every element of one surface to the nearest point of another.

    Attributes:
        distances: (n,) in the unit of the spacing.
        sizes: (n,) length or area of the elements.
    """

    distances: NDArray[np.float64]
    sizes: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Return the length or area of the whole surface."""
        return float(self.sizes.sum())

    def within(self, tolerance: float) -> float:
        """Return the length or area of the surface that is at most `tolerance` away."""
        return float(self.sizes[self.distances <= tolerance].sum())

    def percentile(self, percent: float) -> float:
        """Return the smallest distance within which lie `percent` percent of the surface."""
        order = np.argsort(self.distances)
        share = np.cumsum(self.sizes[order])
        place = np.searchsorted(share, (percent / 100 - _EQUAL_SHARE) * share[-1])
        return float(self.distances[order[min(int(place), len(order) - 1)]])

    def mean(self) -> float:
        """Return the average distance, each element counting by its size."""
        return float(np.average(self.distances, weights=self.sizes))
