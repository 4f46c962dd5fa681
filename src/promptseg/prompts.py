"""Prompts: what the user points at. Every prompt knows the slice and the axes it is written in.

Coordinates are indices of the original image counted from 0 at voxel centres; boxes hold both ends
(the box of a mask is the smallest and the largest index it occupies). On slices along z, x is the
column and y the row; along y, x is the array's x and y its z; along x, x is the array's y and y its z.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry

__all__ = [
    "Box",
    "Box3D",
    "ObjectPrompts",
    "Points",
    "Prompt",
    "box_of_mask",
    "group_by_object",
    "parse_box",
    "parse_box3d",
    "parse_point",
]


@dataclass(frozen=True)
class Box:
    """A rectangle on one slice.

    Attributes:
        xyxy: (x0, y0, x1, y1), pixel indices with both ends inside the box.
        slice: index of the slice along `axis`; None on pictures (or volumes of one slice).
        name: the object it belongs to; None makes an object of its own.
        axis: the axis the slice is taken along; None takes the axis of the run.
    """

    kind: ClassVar[str] = "box"

    xyxy: tuple[float, float, float, float]
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "xyxy", _numbers(self.xyxy, 4, "a box of 4 numbers x0,y0,x1,y1"))
        object.__setattr__(self, "slice", _whole(self.slice))
        x0, y0, x1, y1 = self.xyxy
        if x1 < x0 or y1 < y0:
            raise PromptError(
                "a box x0,y0,x1,y1 with x0 <= x1 and y0 <= y1",
                f"{_text(self.xyxy)}",
                "give the smaller corner first",
            )

    def check(self, geometry: Geometry, axis: Axis = "z") -> Box:
        """This box, placed on a grid: axis and, where there is only one, slice filled in.

        Raises:
            PromptError: the box or its slice lies outside the image, or the slice is missing.
        """
        axis = self.axis or axis
        placed = _on_slice(self.slice, geometry, axis, "box")
        _inside([self.xyxy[:2], self.xyxy[2:]], geometry, axis, f"the box {_text(self.xyxy)}")
        return Box(self.xyxy, placed, self.name, axis)

    def to_json(self) -> dict[str, Any]:
        """The box as an entry of a prompt file."""
        return _drop_none({"xyxy": list(self.xyxy), "slice": self.slice})


@dataclass(frozen=True)
class Box3D:
    """A box in a volume, (x0, y0, z0, x1, y1, z1) voxel indices with both ends inside.

    Attributes:
        bounds: the six numbers.
        name: the object it belongs to.
    """

    kind: ClassVar[str] = "box"

    bounds: tuple[float, float, float, float, float, float]
    name: str | None = None

    def __post_init__(self) -> None:
        expected = "a 3D box of 6 numbers x0,y0,z0,x1,y1,z1"
        object.__setattr__(self, "bounds", _numbers(self.bounds, 6, expected))
        if any(a > b for a, b in zip(self.bounds[:3], self.bounds[3:], strict=True)):
            raise PromptError(
                f"{expected} with every lower end at most the upper one",
                _text(self.bounds),
                "give the smaller corner first",
            )

    def check(self, geometry: Geometry, axis: Axis = "z") -> Box3D:
        """This box, if it lies inside the volume; it is the same along every axis.

        Raises:
            PromptError: the image is a picture, or the box reaches outside.
        """
        if geometry.ndim != 3:
            raise PromptError("a volume for a 3D box", "a picture", "give a box x0,y0,x1,y1")
        sizes = geometry.shape[::-1]
        for n, low, high in zip(sizes, self.bounds[:3], self.bounds[3:], strict=True):
            if low < 0 or high > n - 1:
                raise PromptError(
                    f"a 3D box inside the volume (0..{sizes[0] - 1}, 0..{sizes[1] - 1}, "
                    f"0..{sizes[2] - 1} along x, y, z)",
                    _text(self.bounds),
                    "correct it; coordinates are voxel indices counted from 0",
                )
        return self

    def on_axis(self, axis: Axis) -> tuple[Box, int, int]:
        """The 2D box on the middle slice along `axis`, and the first and last slice of the box."""
        low, high = self.bounds[:3], self.bounds[3:]
        k = "xyz".index(axis)
        i, j = (n for n in range(3) if n != k)
        first, last = round(low[k]), round(high[k])
        middle = (first + last) // 2
        return Box((low[i], low[j], high[i], high[j]), middle, self.name, axis), first, last

    def to_json(self) -> dict[str, Any]:
        """The box as `box3d` of a prompt file."""
        return {"box3d": list(self.bounds)}


@dataclass(frozen=True)
class Points:
    """Clicks on one slice.

    Attributes:
        xy: (N, 2) pixel indices.
        labels: (N,) 1 for "belongs to the object", 0 for "does not".
        slice: index of the slice along `axis`; None on pictures.
        name: the object they belong to.
        axis: the axis the slice is taken along; None takes the axis of the run.
    """

    kind: ClassVar[str] = "point"

    xy: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        xy = tuple(_numbers(p, 2, "points of 2 numbers x,y") for p in self.xy)
        if not xy or len(xy) != len(self.labels) or any(v not in (0, 1) for v in self.labels):
            raise PromptError(
                "one label 1 (inside) or 0 (outside) per point, and at least one point",
                f"{len(xy)} points with labels {list(self.labels)}",
                "give as many labels as points",
            )
        object.__setattr__(self, "xy", xy)
        object.__setattr__(self, "labels", tuple(int(v) for v in self.labels))
        object.__setattr__(self, "slice", _whole(self.slice))

    def check(self, geometry: Geometry, axis: Axis = "z") -> Points:
        """These points, placed on a grid; as `Box.check`."""
        axis = self.axis or axis
        placed = _on_slice(self.slice, geometry, axis, "point")
        _inside(self.xy, geometry, axis, "a point")
        return Points(self.xy, self.labels, placed, self.name, axis)

    def to_json(self) -> list[dict[str, Any]]:
        """The points as entries of a prompt file."""
        return [
            _drop_none({"xy": list(p), "slice": self.slice, "label": label})
            for p, label in zip(self.xy, self.labels, strict=True)
        ]


Prompt = Box | Box3D | Points


@dataclass
class ObjectPrompts:
    """All prompts of one object.

    Attributes:
        name: the object's name.
        boxes: rectangles on slices.
        boxes3d: boxes in the volume.
        points: clicks, one `Points` per slice.
    """

    name: str
    boxes: list[Box] = field(default_factory=list)
    boxes3d: list[Box3D] = field(default_factory=list)
    points: list[Points] = field(default_factory=list)

    @property
    def planar(self) -> list[Box | Points]:
        """The prompts that lie on a slice."""
        return [*self.boxes, *self.points]

    @property
    def kinds(self) -> set[str]:
        """Kinds of prompts used: "box", "point"."""
        return {p.kind for p in self.planar} | {b.kind for b in self.boxes3d}

    def to_json(self) -> list[dict[str, Any]]:
        """Entries of `objects` in a prompt file: one, or more if there are several 3D boxes."""
        entry: dict[str, Any] = {"name": self.name}
        if self.boxes:
            entry["boxes"] = [b.to_json() for b in self.boxes]
        if self.points:
            entry["points"] = [p for points in self.points for p in points.to_json()]
        if not self.boxes3d:
            return [entry]
        first, *rest = (b.to_json() for b in self.boxes3d)
        return [{**entry, **first}, *({"name": self.name, **b} for b in rest)]


def group_by_object(
    prompts: Iterable[Prompt], geometry: Geometry, axis: Axis = "z"
) -> list[ObjectPrompts]:
    """Check prompts against a grid and gather them into objects, in order of first mention.

    Prompts that share a name belong to one object. Unnamed boxes are objects of their own, unless
    there are unnamed clicks: then everything unnamed is one object.

    Raises:
        PromptError: no prompt at all, or one that lies outside the image.
    """
    checked = [p.check(geometry, axis) for p in prompts]
    if not checked:
        raise PromptError(
            "at least one prompt",
            "none",
            "add --box x0,y0,x1,y1[@slice][=name], or --prompts FILE.json",
        )
    together = any(isinstance(p, Points) and p.name is None for p in checked)
    taken = {p.name for p in checked if p.name is not None}
    shared = _free_name(taken)
    objects: dict[str, ObjectPrompts] = {}
    for prompt in checked:
        name = prompt.name
        if name is None:
            name = shared if together else _free_name(taken)
            taken.add(name)
        entry = objects.setdefault(name, ObjectPrompts(name))
        if isinstance(prompt, Box):
            entry.boxes.append(prompt)
        elif isinstance(prompt, Box3D):
            entry.boxes3d.append(prompt)
        else:
            entry.points.append(prompt)
    return list(objects.values())


def box_of_mask(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) smallest and largest index of a (y, x) mask; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TAIL = r"(?:@(?P<slice>-?\d+))?(?:=(?P<name>.+))?"
_BOX = re.compile(rf"(?P<xyxy>{_NUMBER}(?:,{_NUMBER}){{3}}){_TAIL}")
_BOX3D = re.compile(rf"(?P<bounds>{_NUMBER}(?:,{_NUMBER}){{5}})(?:=(?P<name>.+))?")
_POINT = re.compile(rf"(?P<xy>{_NUMBER},{_NUMBER}),(?P<label>[+-]){_TAIL}")


def parse_box(text: str) -> Box:
    """Read `x0,y0,x1,y1[@slice][=name]`, the command line's way to write a box."""
    match = _BOX.fullmatch(_without_spaces(text))
    if not match:
        raise PromptError("a box written x0,y0,x1,y1[@slice][=name]", repr(text), "see --help")
    return Box(_split(match["xyxy"]), _index(match["slice"]), match["name"])  # type: ignore[arg-type]


def parse_box3d(text: str) -> Box3D:
    """Read `x0,y0,z0,x1,y1,z1[=name]`."""
    match = _BOX3D.fullmatch(_without_spaces(text))
    if not match:
        raise PromptError("a 3D box written x0,y0,z0,x1,y1,z1[=name]", repr(text), "see --help")
    return Box3D(_split(match["bounds"]), match["name"])  # type: ignore[arg-type]


def parse_point(text: str) -> Points:
    """Read `x,y,+|-[@slice][=name]`."""
    match = _POINT.fullmatch(_without_spaces(text))
    if not match:
        raise PromptError("a point written x,y,+|-[@slice][=name]", repr(text), "see --help")
    xy, label = _split(match["xy"]), int(match["label"] == "+")
    return Points((xy,), (label,), _index(match["slice"]), match["name"])  # type: ignore[arg-type]


def _without_spaces(text: str) -> str:
    """Spaces may stand anywhere before the name and around it."""
    numbers, equals, name = text.partition("=")
    return numbers.replace(" ", "") + equals + name.strip()


def _split(text: str) -> tuple[float, ...]:
    return tuple(float(t) for t in text.split(","))


def _index(text: str | None) -> int | None:
    return None if text is None else int(text)


def _numbers(values: Sequence[float], count: int, expected: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise PromptError(expected, repr(values), "give finite numbers")
    return numbers


def _whole(index: int | None) -> int | None:
    try:
        return None if index is None else operator.index(index)
    except TypeError:
        raise PromptError("a whole number for the slice", repr(index)) from None


def _on_slice(index: int | None, geometry: Geometry, axis: Axis, what: str) -> int:
    count = geometry.slice_count(axis)
    if index is None:
        if count == 1:
            return 0
        raise PromptError(
            f"a slice for a {what} in a volume of {count} slices",
            "none",
            f"write it as @N with N from 0 to {count - 1}",
        )
    if not 0 <= index < count:
        raise PromptError(
            f"a slice from 0 to {count - 1} along {axis}", str(index), "correct the number after @"
        )
    return index


def _inside(xy: Sequence[Sequence[float]], geometry: Geometry, axis: Axis, what: str) -> None:
    rows, columns = geometry.slice_shape(axis)
    for x, y in xy:
        if not (0 <= x <= columns - 1 and 0 <= y <= rows - 1):
            raise PromptError(
                f"coordinates inside the image (x 0..{columns - 1}, y 0..{rows - 1})",
                f"{what} reaching {_text((x, y))}",
                "correct it; coordinates are original pixels counted from 0",
            )


def _text(numbers: Iterable[float]) -> str:
    return ",".join(f"{v:g}" for v in numbers)


def _drop_none(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if v is not None}


def _free_name(taken: set[str]) -> str:
    number = 1
    while (name := "object" if number == 1 else f"object {number}") in taken:
        number += 1
    return name
