"""Prompts in LPS millimetres, converted once, at the edge, when their image is known."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.prompts.checks import listed, numbers, on_slice, whole
from promptseg.prompts.planar import Box, Box3D, Points

if TYPE_CHECKING:
    from promptseg.prompts.objects import PlacedPrompt

__all__ = ["Millimetres"]


@dataclass(frozen=True)
class Millimetres:
    """Clicks or a box given in space.

    Attributes:
        what: "points", "box" (two opposite corners on one slice) or "box3d" (corners in space).
        lps: x, y, z of each point or corner in mm; or x, y alone, where `slice` (or a 2D image) tells
            the rest.
        labels: 1 or 0 per point; none for boxes.
        slice: slice along the axis of the run, where z is not given.
        name: the object it belongs to.
        axis: the axis slices are taken along; None takes the axis of the run.
        clip: a 3D box that reaches over the edge of the image is cut there, not refused.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Image, Millimetres
        >>> image = Image.from_array(np.zeros((10, 64, 64), np.int16), spacing=(0.5, 0.5, 5.0))
        >>> (click,) = Millimetres("points", ((16.0, 8.0, 20.0),), (1,)).place(image.geometry)
        >>> (click.xy, click.slice)
        (((32.0, 16.0),), 4)
    """

    what: Literal["points", "box", "box3d"]
    lps: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...] = ()
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None
    clip: bool = False

    kind: ClassVar[str] = "millimetres"

    def __post_init__(self) -> None:
        count = len(self.lps)
        if self.what == "points" and not 0 < count == len(self.labels):
            raise PromptError(
                "one label 1 (inside) or 0 (outside) per point, and at least one point",
                f"{count} points with labels {list(self.labels)}",
                "give as many labels as points",
            )
        if count < 2 if self.what == "box3d" else self.what == "box" and count != 2:
            raise PromptError("two opposite corners of a box in mm", str(count))
        size = 3 if self.what == "box3d" or len(self.lps[0]) == 3 else 2
        expected = f"{size} coordinates in mm"
        object.__setattr__(self, "lps", tuple(numbers(p, size, expected) for p in self.lps))
        object.__setattr__(self, "slice", whole(self.slice))
        if size == 3 and self.slice is not None:
            raise PromptError(
                "either z in mm or a slice",
                f"both, {listed(self.lps[0])} mm and slice {self.slice}",
                "leave one of them out",
            )

    def place(self, geometry: Geometry, axis: Axis = "z") -> list[PlacedPrompt]:
        """Return the same prompt in indices; clicks on different slices become one `Points` each.

        Raises:
            PromptError: outside the image, a 2D image without a pixel size, a flat box that crosses
                slices.
        """
        axis = self.axis or axis
        if geometry.unit != "mm":
            raise PromptError(
                "an image whose pixel size is known, for millimetres",
                "a 2D image in pixels",
                "give pixel indices, without mm",
            )
        if self.what == "box3d":
            return [self._box3d(geometry).check(geometry, axis)]
        xy, slices = self._on_slices(geometry, axis)
        rows, columns = geometry.slice_shape(axis)
        xy = _on_voxels(xy, np.array([columns - 1, rows - 1]))
        if self.what == "box":
            if slices[0] != slices[1]:
                raise PromptError(
                    f"two corners on one slice along {axis}",
                    f"corners on the slices {slices[0]} and {slices[1]}",
                    "use --box3d for a box in space",
                )
            low, high = xy.min(axis=0), xy.max(axis=0)
            box = Box((low[0], low[1], high[0], high[1]), slices[0], self.name, axis)
            return [box.check(geometry, axis)]
        found: list[PlacedPrompt] = []
        for index in dict.fromkeys(slices):
            here = [n for n, s in enumerate(slices) if s == index]
            points = tuple((float(xy[n, 0]), float(xy[n, 1])) for n in here)
            labels = tuple(self.labels[n] for n in here)
            found.append(Points(points, labels, index, self.name, axis).check(geometry, axis))
        return found

    def _on_slices(
        self, geometry: Geometry, axis: Axis
    ) -> tuple[NDArray[np.float64], list[int | None]]:
        """(N, 2) pixel indices and the slice of each point."""
        k = "xyz".index(axis) if geometry.ndim == 3 else 2
        plane = [n for n in range(3) if n != k]
        if len(self.lps[0]) == 3:
            index = geometry.to_index(np.array(self.lps))
            if geometry.ndim == 2:
                return index[:, plane], [None] * len(index)
            return index[:, plane], [round(float(v)) for v in index[:, k]]
        slice_ = on_slice(self.slice, geometry, axis, "prompt in mm")
        start = geometry.origin + geometry.matrix[:, k] * slice_
        steps = geometry.matrix[:2, plane]
        if abs(np.linalg.det(steps)) < 1e-6 * geometry.spacing[plane].prod():
            raise PromptError(
                "x, y and z in mm on slices that stand upright", "x and y", "give three coordinates"
            )
        offsets = np.array(self.lps, dtype=np.float64) - start[:2]
        xy = np.asarray(np.linalg.solve(steps, offsets.T).T, dtype=np.float64)
        return xy, [slice_ if geometry.ndim == 3 else None] * len(xy)

    def _box3d(self, geometry: Geometry) -> Box3D:
        """The smallest box of the grid around the corners.

        Two corners stand for all eight of a box along the axes of space.
        """
        corners = np.array(self.lps)
        if len(corners) == 2:
            corners = np.array(list(product(*corners.T)))
        index = geometry.to_index(corners)
        last = np.array(geometry.shape[::-1], dtype=float) - 1
        if geometry.ndim == 3:
            index = _on_voxels(index, last)
        low, high = index.min(axis=0), index.max(axis=0)
        touches = geometry.ndim == 3 and (high >= -0.5).all() and (low <= last + 0.5).all()
        if self.clip and touches:
            low, high = np.clip(low, 0, last), np.clip(high, 0, last)
        return Box3D((*low.round(6).tolist(), *high.round(6).tolist()), self.name, self.axis)


def _on_voxels(index: NDArray[np.float64], last: NDArray[Any]) -> NDArray[np.float64]:
    """Indices within the outer half of an edge voxel belong to that voxel."""
    index = index.round(6)
    outer = (index > -0.5) & (index < last + 0.5)
    return np.where(outer, np.clip(index, 0, last), index)
