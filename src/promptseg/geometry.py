"""Grids in space: where each voxel of an array lies in millimetres.

World coordinates are LPS (x to the patient's Left, y to Posterior, z to Superior), as DICOM and ITK
write them. Index coordinates are (x, y, z) = (column, row, slice) counted from 0 at voxel centres,
while arrays are indexed (z, y, x). The whole step from index to world is one 3x3 matrix, so oblique,
left-handed, flipped, sheared and gantry-tilted grids are all the same kind of thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.errors import GeometryError

__all__ = ["AXES", "Axis", "Geometry", "axis_position", "opposite"]

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, Axis, Axis] = ("z", "y", "x")

_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
_POSITIVE_LPS = "LPS"


def opposite(letter: str) -> str:
    """Return the side across from `letter`, one of L, R, A, P, S, I."""
    return _OPPOSITE[letter]


def axis_position(axis: Axis) -> int:
    """Return the position of `axis` in a (z, y, x) array."""
    return AXES.index(axis)


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of an image.

    Attributes:
        shape: array shape, (z, y, x) for a volume or (y, x) for a 2D image (without channels).
        matrix: (3, 3) float64; column k is the LPS step in `unit` when index k of (x, y, z) grows by 1.
        origin: (3,) float64; LPS position of the centre of index (0, 0, 0).
        unit: "mm", or "pixel" for 2D images whose pixel size is unknown.

    Examples:
        >>> from promptseg import Geometry
        >>> grid = Geometry.from_spacing((20, 512, 512), spacing=(0.7, 0.7, 5), origin=(-180, -180, 0))
        >>> grid.to_world((10, 20, 3)).tolist()  # in mm
        [-173.0, -166.0, 15.0]
        >>> grid.slice_shape("x"), grid.slice_count("x")
        ((20, 512), 512)
    """

    shape: tuple[int, ...]
    matrix: NDArray[np.float64]
    origin: NDArray[np.float64]
    unit: Literal["mm", "pixel"] = "mm"

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64).reshape(3, 3)
        origin = np.array(self.origin, dtype=np.float64).reshape(3)
        if len(self.shape) not in (2, 3) or any(n < 1 for n in self.shape):
            raise GeometryError(
                "a grid of 2 or 3 dimensions with at least one voxel along each",
                f"shape {tuple(self.shape)}",
                "check that the file is complete",
            )
        if not (np.isfinite(matrix).all() and np.isfinite(origin).all()):
            raise GeometryError(
                "finite voxel sizes and positions", "NaN or inf", "repair the header of the file"
            )
        volume = abs(np.linalg.det(matrix))
        if volume <= 1e-9 * np.prod(np.linalg.norm(matrix, axis=0)):
            raise GeometryError(
                "three independent directions with spacing above 0",
                f"a matrix of determinant {volume:.3g}",
                "repair the orientation and spacing in the header of the file",
            )
        matrix.setflags(write=False)
        origin.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "origin", origin)

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing: ArrayLike = (1.0, 1.0, 1.0),
        origin: ArrayLike = (0.0, 0.0, 0.0),
        direction: ArrayLike | None = None,
        unit: Literal["mm", "pixel"] = "mm",
    ) -> Geometry:
        """Build a grid from `spacing` (x, y, z), LPS `origin`, and `direction` (a column per axis)."""
        axes = np.eye(3) if direction is None else np.asarray(direction, float).reshape(3, 3)
        return cls(tuple(shape), axes * np.asarray(spacing, float), np.asarray(origin), unit)

    @classmethod
    def pixels(cls, shape: Sequence[int]) -> Geometry:
        """Build a grid whose pixel size is unknown: one unit per pixel."""
        return cls(tuple(shape), np.eye(3), np.zeros(3), "pixel")

    @property
    def ndim(self) -> int:
        """Return 2 for a 2D image, 3 for a volume."""
        return len(self.shape)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Return the length of one index step along x, y, z, in `unit`."""
        return np.asarray(np.linalg.norm(self.matrix, axis=0))

    @property
    def direction(self) -> NDArray[np.float64]:
        """Return the unit vectors (LPS) of x, y, z as the columns of a (3, 3) matrix."""
        return np.asarray(self.matrix / self.spacing)

    @property
    def voxel_volume(self) -> float:
        """Return the volume of one voxel in cubic `unit`; right for sheared grids too."""
        return float(abs(np.linalg.det(self.matrix)))

    @property
    def is_orthogonal(self) -> bool:
        """Tell whether the three axes are perpendicular (within 1e-4 of the cosine)."""
        cosines = self.direction.T @ self.direction
        return bool(np.abs(cosines - np.eye(3)).max() < 1e-4)

    @property
    def orientation(self) -> str:
        """Return three letters: the side towards which x, y and z grow, e.g. "LPS" or "RAS".

        Each axis takes the world direction it is closest to; the three letters name three
        different directions.
        """
        direction = self.direction.copy()
        letters = [""] * 3
        for _ in range(3):
            world, index = np.unravel_index(np.abs(direction).argmax(), (3, 3))
            letter = _POSITIVE_LPS[int(world)]
            letters[int(index)] = letter if direction[world, index] > 0 else _OPPOSITE[letter]
            direction[world, :] = 0
            direction[:, index] = 0
        return "".join(letters)

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 3) indices (x, y, z) to (..., 3) LPS positions."""
        return np.asarray(index, dtype=np.float64) @ self.matrix.T + self.origin

    def to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 3) LPS positions to (..., 3) fractional indices (x, y, z)."""
        offset = np.asarray(world, dtype=np.float64) - self.origin
        solved = np.linalg.solve(self.matrix, offset[..., None])[..., 0]
        return np.asarray(solved, dtype=np.float64)

    def in_plane(self, axis: Axis = "z") -> NDArray[np.float64]:
        """Return the LPS steps per column and per row, (3, 2), of the slices taken along `axis`.

        Slices keep the array order of the other two axes: along z rows are y and columns x; along y
        rows are z and columns x; along x rows are z and columns y.
        """
        columns = {"z": (0, 1), "y": (0, 2), "x": (1, 2)}[axis]
        return np.asarray(self.matrix[:, columns])

    def slice_shape(self, axis: Axis = "z") -> tuple[int, int]:
        """Return the shape (rows, columns) of the slices taken along `axis`."""
        if self.ndim == 2:
            return (self.shape[0], self.shape[1])
        rest = [n for k, n in enumerate(self.shape) if k != axis_position(axis)]
        return (rest[0], rest[1])

    def slice_count(self, axis: Axis = "z") -> int:
        """Return the number of slices along `axis`; 1 for a 2D image."""
        return 1 if self.ndim == 2 else self.shape[axis_position(axis)]

    def slice_step(self, axis: Axis = "z") -> float:
        """Return the distance in `unit` between neighbouring slices along `axis`."""
        return float(self.spacing["xyz".index(axis)])

    def agrees_with(self, other: Geometry, tolerance: float = 1e-3) -> bool:
        """Tell whether both grids put every voxel at the same place.

        Args:
            other: the other grid.
            tolerance: how far a voxel may lie from where the other grid has it, in parts of a voxel
                along each axis: what is small beside a voxel of 5 mm is large beside one of a micron.
        """
        if self.shape != other.shape or self.unit != other.unit:
            return False
        shape = self.shape if self.ndim == 3 else (1, *self.shape)
        corners = np.array(
            [
                (x, y, z)
                for x in (0, shape[2] - 1)
                for y in (0, shape[1] - 1)
                for z in (0, shape[0] - 1)
            ]
        )
        off = (
            np.abs(a.to_index(b.to_world(corners)) - corners).max()
            for a, b in ((self, other), (other, self))
        )
        return bool(max(off) <= tolerance)
