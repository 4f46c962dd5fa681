"""Sparse markers: the long and short axis of a tumour on some slices (MedSAM, Methods, "Human
annotation study")."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.prompts.checks import drop_none, inside, listed, numbers, on_slice, whole

__all__ = ["Line", "Marker"]

Line = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Marker:
    """The axis lines of an object on one slice.

    Attributes:
        long: two (x, y) ends of the long axis, pixel indices.
        short: two ends of the short axis, if it was drawn.
        slice: index of the slice along `axis`.
        name: the object they belong to.
        axis: the axis the slice is taken along; None takes the axis of the run.

    Examples:
        >>> from promptseg import Marker
        >>> lines = Marker(((20, 30), (60, 30)), ((40, 20), (40, 44)), slice=12, name="node")
        >>> lines.rectangle  # the box that both lines fit into
        (20, 20, 60, 44)
    """

    kind: ClassVar[str] = "box"

    long: Line
    short: Line | None = None
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None

    def __post_init__(self) -> None:
        for which in ("long", "short"):
            line = getattr(self, which)
            if line is None and which == "short":
                continue
            if len(line) != 2:
                raise PromptError(f"two ends of the {which} axis", f"{len(line)}")
            ends = tuple(numbers(end, 2, f"ends x,y of the {which} axis") for end in line)
            if ends[0] == ends[1]:
                raise PromptError(
                    f"a {which} axis with a length",
                    f"one from {listed(ends[0])} to itself",
                    "draw it between two points",
                )
            object.__setattr__(self, which, ends)
        object.__setattr__(self, "slice", whole(self.slice))

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        """Return the smallest rectangle of whole pixels that covers the lines, XYXY."""
        ends = [*self.long, *(self.short or ())]
        x, y = [p[0] for p in ends], [p[1] for p in ends]
        return math.floor(min(x)), math.floor(min(y)), math.ceil(max(x)), math.ceil(max(y))

    def check(self, geometry: Geometry, axis: Axis = "z") -> Marker:
        """Return these lines, placed on a grid; as `Box.check`."""
        axis = self.axis or axis
        placed = on_slice(self.slice, geometry, axis, "marker")
        inside([*self.long, *(self.short or ())], geometry, axis, "a marker")
        return Marker(self.long, self.short, placed, self.name, axis)

    def to_json(self) -> dict[str, Any]:
        """Return the lines as an entry of a prompt file."""
        lines = {w: [list(p) for p in v] for w in ("long", "short") if (v := getattr(self, w))}
        return drop_none({"slice": self.slice, **lines})
