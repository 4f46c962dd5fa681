"""Voxels of a volume and where they lie: Slicer's IJK and RAS, and the server's grid.

Slicer's IJK is (x, y, z) of the server and of `promptseg`: `arrayFromVolume` has them as [k, j, i], an
uploaded array as [z, y, x]. So indices are the same on both sides, and only space has to be turned: RAS
here, LPS there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np

from PromptSegLib.problems import Problem

__all__ = ["AXES", "Grid", "planar"]

AXES = "xyz"  # of IJK
_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def planar(axis: str) -> Tuple[int, int]:
    """Positions in IJK of the columns and rows of slices along an axis, as the server cuts them.

    Example:
        >>> planar("z"), planar("y"), planar("x")
        ((0, 1), (0, 2), (1, 2))
    """
    rest = [n for n, letter in enumerate(AXES) if letter != axis]
    return rest[0], rest[1]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: of the array, (k, j, i).
        matrix: (4, 4) from IJK to RAS millimetres of the world, transforms included.
    """

    shape: Tuple[int, int, int]
    matrix: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """(3,) voxels along i, j, k."""
        return np.array(self.shape[::-1])

    def index(self, ras: Sequence[Sequence[float]]) -> np.ndarray:
        """(N, 3) RAS points -> (N, 3) fractional IJK, rounded to a millionth of a voxel."""
        points = np.asarray(ras, float).reshape(-1, 3) - self.matrix[:3, 3]
        return np.linalg.solve(self.matrix[:3, :3], points.T).T.round(6)

    def ras(self, ijk: Sequence[Sequence[float]]) -> np.ndarray:
        """(N, 3) IJK -> (N, 3) RAS points."""
        return np.asarray(ijk, float).reshape(-1, 3) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def placed(self, ras: Sequence[Sequence[float]]) -> np.ndarray:
        """As `index`, of points that have to lie in the volume; its outer half voxels belong to it.

        Raises:
            Problem: a point beside the volume.
        """
        found = self.index(ras)
        outside = (found < -0.5) | (found > self.size - 0.5)
        if outside.any():
            at = np.asarray(ras, float).reshape(-1, 3)[outside.any(axis=1)][0].round(1).tolist()
            raise Problem(
                f"expected a place in the volume, got {at} (R, A, S in mm) beside it; move it"
            )
        return np.clip(found, 0, self.size - 1)

    @property
    def facts(self) -> Dict[str, List[float]]:
        """`spacing`, `origin` and `direction` for the server, in LPS."""
        steps = _TO_LPS @ self.matrix[:3, :3]
        spacing = np.linalg.norm(steps, axis=0)
        return {
            "spacing": spacing.tolist(),
            "origin": (_TO_LPS @ self.matrix[:3, 3]).tolist(),
            "direction": (steps / spacing).ravel().tolist(),
        }

    def axis_of(self, normal: Sequence[float]) -> str:
        """The axis whose slices lie most like a view with this normal (RAS)."""
        steps = self.matrix[:3, :3]
        across = np.linalg.inv(steps).T  # columns: normals of the slices along i, j, k
        along = np.abs(across.T @ np.asarray(normal, float)) / np.linalg.norm(across, axis=0)
        return AXES[int(along.argmax())]

    def slice_at(
        self, origin: Sequence[float], normal: Sequence[float], near: Sequence[float], axis: str
    ) -> int:
        """The slice along `axis` in which a view lies, seen from the place `near`.

        Args:
            origin: any point of the view's plane (RAS).
            normal: of the plane.
            near: where the object is; matters where the view is oblique to the slices.
            axis: x, y or z.

        Raises:
            Problem: the plane runs along the axis, or lies beside the volume.
        """
        k = AXES.index(axis)
        step, towards = self.matrix[:3, k], np.asarray(normal, float)
        rise = float(step @ towards)
        if abs(rise) < 1e-6 * np.linalg.norm(step) * np.linalg.norm(towards):
            raise Problem(f"expected a view across the slices along {axis}, got one along them")
        away = float((np.asarray(origin, float) - np.asarray(near, float)) @ towards) / rise
        found = round(float(self.index([near])[0, k]) + away)
        if not 0 <= found < self.size[k]:
            raise Problem(
                f"expected a slice of the volume (0 to {self.size[k] - 1} along {axis}), got {found}; "
                "move the view"
            )
        return int(found)

    def agrees_with(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Whether both put every voxel at the same place, within `tolerance` of a voxel."""
        if self.shape != other.shape:
            return False
        i, j, k = self.size - 1
        corners = [(a, b, c) for a in (0, i) for b in (0, j) for c in (0, k)]
        return bool(np.abs(self.index(other.ras(corners)) - corners).max() <= tolerance)
