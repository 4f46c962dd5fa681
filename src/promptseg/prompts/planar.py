"""Boxes and clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.prompts.checks import drop_none, inside, listed, numbers, on_slice, whole

__all__ = ["Box", "Box3D", "Points"]


@dataclass(frozen=True)
class Box:
    """A rectangle on one slice.

    Attributes:
        xyxy: (x0, y0, x1, y1), pixel indices with both ends inside the box.
        slice: index of the slice along `axis`; None on 2D images (or volumes of one slice).
        name: the object it belongs to; None makes an object of its own.
        axis: the axis the slice is taken along; None takes the axis of the run.

    Examples:
        >>> from promptseg import Box
        >>> box = Box((98, 190, 272, 372), slice=10, name="liver")
        >>> box.to_json()
        {'xyxy': [98.0, 190.0, 272.0, 372.0], 'slice': 10}
    """

    kind: ClassVar[str] = "box"

    xyxy: tuple[float, float, float, float]
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", numbers(self.xyxy, 4, "a box of 4 numbers x0,y0,x1,y1"))
        object.__setattr__(self, "slice", whole(self.slice))
        x0, y0, x1, y1 = self.xyxy
        if x1 < x0 or y1 < y0:
            raise PromptError(
                "a box x0,y0,x1,y1 with x0 <= x1 and y0 <= y1",
                f"{listed(self.xyxy)}",
                "give the smaller corner first",
            )

    def check(self, geometry: Geometry, axis: Axis = "z") -> Box:
        """Return this box, placed on a grid: axis and, where there is only one, slice filled in.

        Raises:
            PromptError: the box or its slice lies outside the image, or the slice is missing.
        """
        axis = self.axis or axis
        placed = on_slice(self.slice, geometry, axis, "box")
        inside([self.xyxy[:2], self.xyxy[2:]], geometry, axis, f"the box {listed(self.xyxy)}")
        return Box(self.xyxy, placed, self.name, axis)

    def to_json(self) -> dict[str, Any]:
        """Return the box as an entry of a prompt file."""
        return drop_none({"xyxy": list(self.xyxy), "slice": self.slice})


@dataclass(frozen=True)
class Box3D:
    """A box in a volume, (x0, y0, z0, x1, y1, z1) voxel indices with both ends inside.

    Attributes:
        bounds: the six numbers.
        name: the object it belongs to.
        axis: the axis along which it is propagated; None takes the axis of the run.

    Examples:
        >>> from promptseg import Box3D
        >>> box = Box3D((98, 190, 8, 272, 372, 14), name="liver")
        >>> box.on_axis("z")[1:]  # its first and last slice
        (8, 14)
    """

    kind: ClassVar[str] = "box"

    bounds: tuple[float, float, float, float, float, float]
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        expected = "a 3D box of 6 numbers x0,y0,z0,x1,y1,z1"
        object.__setattr__(self, "bounds", numbers(self.bounds, 6, expected))
        if any(a > b for a, b in zip(self.bounds[:3], self.bounds[3:], strict=True)):
            raise PromptError(
                f"{expected} with every lower end at most the upper one",
                listed(self.bounds),
                "give the smaller corner first",
            )

    def check(self, geometry: Geometry, axis: Axis = "z") -> Box3D:
        """Return this box, if it lies inside the volume; its numbers are the same along every axis.

        Raises:
            PromptError: the image is a 2D image, or the box reaches outside.
        """
        if geometry.ndim != 3:
            raise PromptError("a volume for a 3D box", "a 2D image", "give a box x0,y0,x1,y1")
        sizes = geometry.shape[::-1]
        for n, low, high in zip(sizes, self.bounds[:3], self.bounds[3:], strict=True):
            if low < 0 or high > n - 1:
                raise PromptError(
                    f"a 3D box inside the volume (0..{sizes[0] - 1}, 0..{sizes[1] - 1}, "
                    f"0..{sizes[2] - 1} along x, y, z)",
                    listed(self.bounds),
                    "correct it; coordinates are voxel indices counted from 0",
                )
        return self

    def on_axis(self, axis: Axis) -> tuple[Box, int, int]:
        """Return the 2D box on the middle slice along `axis`, and the first and last slice of the
        box.
        """
        low, high = self.bounds[:3], self.bounds[3:]
        k = "xyz".index(axis)
        i, j = (n for n in range(3) if n != k)
        first, last = round(low[k]), round(high[k])
        middle = (first + last) // 2
        return Box((low[i], low[j], high[i], high[j]), middle, self.name, axis), first, last

    def to_json(self) -> dict[str, Any]:
        """Return the box as `box3d` of a prompt file."""
        return {"box3d": list(self.bounds)}


@dataclass(frozen=True)
class Points:
    """Clicks on one slice.

    Attributes:
        xy: (N, 2) pixel indices.
        labels: (N,) 1 for "belongs to the object", 0 for "does not".
        slice: index of the slice along `axis`; None on 2D images.
        name: the object they belong to.
        axis: the axis the slice is taken along; None takes the axis of the run.

    Examples:
        >>> from promptseg import Points
        >>> clicks = Points(((120, 80), (131, 95)), (1, 0), slice=40, name="lesion")
        >>> clicks.to_json()[1]
        {'xy': [131.0, 95.0], 'slice': 40, 'label': 0}
    """

    kind: ClassVar[str] = "point"

    xy: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        xy = tuple(numbers(p, 2, "points of 2 numbers x,y") for p in self.xy)
        if not xy or len(xy) != len(self.labels) or any(v not in (0, 1) for v in self.labels):
            raise PromptError(
                "one label 1 (inside) or 0 (outside) per point, and at least one point",
                f"{len(xy)} points with labels {list(self.labels)}",
                "give as many labels as points",
            )
        object.__setattr__(self, "xy", xy)
        object.__setattr__(self, "labels", tuple(int(v) for v in self.labels))
        object.__setattr__(self, "slice", whole(self.slice))

    def check(self, geometry: Geometry, axis: Axis = "z") -> Points:
        """Return these points, placed on a grid; as `Box.check`."""
        axis = self.axis or axis
        placed = on_slice(self.slice, geometry, axis, "point")
        inside(self.xy, geometry, axis, "a point")
        return Points(self.xy, self.labels, placed, self.name, axis)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the points as entries of a prompt file."""
        return [
            drop_none({"xy": list(p), "slice": self.slice, "label": label})
            for p, label in zip(self.xy, self.labels, strict=True)
        ]
