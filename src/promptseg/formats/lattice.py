"""Two grids on one lattice: the same voxels in space, stored in another order or in part.

A mask whose axes are reversed or permuted, or that was cut to its objects, lies on the voxels of its
image; bringing it there moves voxels and computes none. Whether that is so is a matter of how far each
voxel lies from the one it would become, as a part of a voxel along each axis: rounded positions and
orientations do no harm by themselves, and a small angle may do much at the far end of a large grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.geometry import Geometry

__all__ = [
    "TOLERANCE",
    "WORTH_A_NOTE",
    "Placement",
    "allowed",
    "corners",
    "difference",
    "placement",
]

TOLERANCE = 0.1
"""Parts of a voxel that a voxel may always lie beside the one it becomes; half a voxel, which other
conventions put between, is far from it."""

WORTH_A_NOTE = 0.01
"""Parts of a voxel from which on a displacement is said."""

_ROUNDING = (
    0.075  # mm: positions rounded to 0.1 mm are 0.05 off, and steps between them a little more
)
_MOST = 0.25  # parts of a voxel: beyond, rounding is no excuse

Region = tuple[slice, ...]


@dataclass(frozen=True)
class Placement:
    """The way the voxels of a source grid lie on a target grid; axes in array order, (z, y, x).

    Attributes:
        shape: of the target.
        source: shape of the source.
        axes: for each axis of the target, the axis of the source that runs along it.
        reversed: for each axis of the target, whether the source runs against it.
        start: index on the target of the source's first voxel along each axis of the target, after
            turning; below 0 where the source reaches beyond.
        off: how far a voxel lies at most beside the one it becomes, in parts of a voxel.
    """

    shape: tuple[int, ...]
    source: tuple[int, ...]
    axes: tuple[int, ...]
    reversed: tuple[bool, ...]
    start: tuple[int, ...]
    off: float

    @property
    def is_identity(self) -> bool:
        """Tell whether both grids have the same voxels in the same order."""
        return (
            self.shape == self.source
            and self.axes == tuple(range(len(self.axes)))
            and not any(self.reversed)
            and not any(self.start)
        )

    def words(self) -> str:
        """Say how the grids differ, for notes, as in "axes reversed (x, y)"."""
        names = "zyx"[-len(self.axes) :]
        said = []
        if self.axes != tuple(range(len(self.axes))):
            order = ", ".join(names[a] for a in self.axes[::-1])
            said.append(f"axes permuted ({order} along {', '.join(names[::-1])})")
        if any(self.reversed):
            turned = [n for n, r in zip(names[::-1], self.reversed[::-1], strict=True) if r]
            said.append(f"axes reversed ({', '.join(turned)})")
        turned_shape = tuple(self.source[a] for a in self.axes)
        if turned_shape != self.shape or any(self.start):
            size = " x ".join(map(str, turned_shape[::-1]))
            whole = " x ".join(map(str, self.shape[::-1]))
            said.append(f"{size} of {whole} voxels, from voxel {_xyz(self.start)}")
        return "; ".join(said)

    def region(self, region: Region) -> Region:
        """Return the box of the target where a box of the source lies; it may reach beyond the grid."""
        found = []
        for axis, against, first in zip(self.axes, self.reversed, self.start, strict=True):
            low, high = region[axis].start, region[axis].stop
            if against:
                low, high = self.source[axis] - high, self.source[axis] - low
            found.append(slice(first + low, first + high))
        return tuple(found)

    def turned(self, values: NDArray[Any]) -> NDArray[Any]:
        """Turn a block of the source to the axes of the target; the result is a view."""
        order = values.transpose(self.axes)
        return order[tuple(slice(None, None, -1 if r else 1) for r in self.reversed)]

    def place(
        self, values: NDArray[Any], region: Region | None = None
    ) -> tuple[NDArray[Any], Region, int]:
        """Put a block of the source on the target, without what lies beyond it.

        Args:
            values: the block; all of the source if there is no `region`.
            region: where in the source it is.

        Returns:
            The block, where it lies on the target, and how many voxels other than 0 lie beyond.
        """
        whole = tuple(slice(0, n) for n in self.source)
        at = self.region(whole if region is None else region)
        block = self.turned(values)
        inside = tuple(
            slice(max(r.start, 0), max(r.start, 0, min(r.stop, n)))
            for r, n in zip(at, self.shape, strict=True)
        )
        kept = block[
            tuple(
                slice(i.start - r.start, i.stop - r.start) for i, r in zip(inside, at, strict=True)
            )
        ]
        lost = int(np.count_nonzero(block) - np.count_nonzero(kept)) if inside != at else 0
        return kept, inside, lost


def allowed(sizes: ArrayLike) -> NDArray[np.float64]:
    """Return how far a voxel may lie beside its place along each axis, in parts of a voxel.

    A tenth; for small voxels as much as positions rounded to 0.1 mm can be off, but never more than a
    quarter.

    Args:
        sizes: of the voxels along each axis, in mm.
    """
    return np.clip(_ROUNDING / np.asarray(sizes, dtype=np.float64), TOLERANCE, _MOST)


def placement(source: Geometry, target: Geometry) -> Placement | None:
    """Find how a grid lies on the lattice of another; None if its voxels are not voxels of it.

    Args:
        source: the grid to be brought to the other; both in space, of as many axes.
        target: the other; `allowed` says how exactly the voxels have to meet.
    """
    if source.ndim != target.ndim or source.unit != target.unit:
        return None
    steps = np.linalg.solve(target.matrix, source.matrix)  # (x, y, z) of both
    turn = np.rint(steps)
    if not _is_permutation(turn):
        return None
    ends = corners(source.shape)
    exact = target.to_index(source.to_world(ends))
    whole = ends @ turn.T
    shift = np.rint((exact - whole).mean(axis=0))
    off = np.abs(exact - whole - shift).max(axis=0)
    if not (off <= allowed(target.spacing)).all():
        return None
    nearest = (whole + shift).min(axis=0).astype(int)  # of the corners: where it begins
    d = source.ndim
    axis_of = np.abs(turn).argmax(axis=1)  # axis of the source (x, y, z) along each of the target
    against = turn[np.arange(3), axis_of] < 0
    axes = tuple(2 - int(axis_of[2 - k]) - (3 - d) for k in range(3 - d, 3))
    return Placement(
        shape=target.shape,
        source=source.shape,
        axes=axes,
        reversed=tuple(bool(against[2 - k]) for k in range(3 - d, 3)),
        start=tuple(int(nearest[2 - k]) for k in range(3 - d, 3)),
        off=float(off.max()),
    )


def corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the indices (x, y, z) of the outermost voxels of a grid, (8, 3)."""
    sizes = (*shape[::-1], 1)[:3]
    return np.array(list(product(*((0, n - 1) for n in sizes))), dtype=np.float64)


def difference(source: Geometry, target: Geometry) -> str:
    """Say why a grid does not lie on the lattice of another, for messages; see `placement`."""
    steps = np.linalg.solve(target.matrix, source.matrix)
    turn = np.rint(steps)
    if not np.allclose(np.sort(source.spacing), np.sort(target.spacing), rtol=5e-3, atol=0):
        theirs, ours = (" x ".join(f"{v:.5g}" for v in g.spacing) for g in (source, target))
        return f"another spacing ({theirs} instead of {ours} mm)"
    if not _is_permutation(turn):
        return "another orientation"
    ends = corners(source.shape)
    exact = target.to_index(source.to_world(ends)) - ends @ turn.T
    shift = exact.mean(axis=0)
    beside = float(np.abs(shift - np.rint(shift)).max())
    furthest = float(np.abs(exact - shift).max())
    if furthest > beside:
        return f"another spacing or orientation (voxels up to {furthest:.2g} voxels beside)"
    return f"another origin ({beside:.2g} of a voxel beside)"


def _is_permutation(turn: NDArray[np.float64]) -> bool:
    size = np.abs(turn)
    return bool(size.max() == 1 and (size.sum(axis=0) == 1).all() and (size.sum(axis=1) == 1).all())


def _xyz(start: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in start[::-1])
