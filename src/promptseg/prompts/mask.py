"""A mask as a prompt, and the box of a mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.prompts.checks import drop_none, on_slice, whole

__all__ = ["Mask", "box_of_mask", "from_rle", "to_rle"]

_INDEX = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask on one slice.

    Attributes:
        pixels: (rows, columns) boolean, the whole slice.
        slice: index of the slice along `axis`; None on 2D images.
        name: the object it belongs to.
        axis: the axis the slice is taken along; None takes the axis of the run.
        as_drawn: the mask is the answer for its slice (somebody drew it); otherwise it is a prompt that
            the model improves.

    Examples:
        >>> import numpy as np
        >>> from promptseg import Mask
        >>> drawn = np.zeros((4, 6), bool)
        >>> drawn[1:3, 2:5] = True
        >>> Mask(drawn, slice=7, name="cyst", as_drawn=True).to_json()
        {'slice': 7, 'size': [4, 6], 'rle': '8:3 14:3', 'as_drawn': True}
    """

    pixels: NDArray[np.bool_]
    slice: int | None = None
    name: str | None = None
    axis: Axis | None = None
    as_drawn: bool = False

    kind: ClassVar[str] = "mask"

    def __repr__(self) -> str:
        return f"Mask({self.to_json()}, name={self.name!r}, axis={self.axis!r})"

    def __post_init__(self) -> None:
        pixels = np.ascontiguousarray(self.pixels)
        if pixels.ndim != 2:
            raise PromptError(
                "a mask of (rows, columns)", f"shape {pixels.shape}", "give one slice"
            )
        object.__setattr__(self, "pixels", pixels != 0)
        object.__setattr__(self, "slice", whole(self.slice))

    def check(self, geometry: Geometry, axis: Axis = "z") -> Mask:
        """Return this mask, placed on a grid.

        Raises:
            PromptError: another shape than the slices of the grid, an empty mask, a slice outside.
        """
        axis = self.axis or axis
        placed = on_slice(self.slice, geometry, axis, "mask")
        if self.pixels.shape != geometry.slice_shape(axis):
            raise PromptError(
                f"a mask on the image's own grid, {geometry.slice_shape(axis)} rows and columns",
                f"one of {self.pixels.shape}",
                "resample it to the image first",
            )
        if not self.as_drawn and not self.pixels.any():
            raise PromptError("a mask with at least one pixel", "an empty one", "leave it out")
        return Mask(self.pixels, placed, self.name, axis, self.as_drawn)

    def to_json(self) -> dict[str, Any]:
        """Write the mask as an entry of a prompt file, run-length encoded (RLE) row by row."""
        entry = {"slice": self.slice, "size": list(self.pixels.shape), "rle": to_rle(self.pixels)}
        return drop_none({**entry, "as_drawn": True if self.as_drawn else None})


def box_of_mask(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return the box around a (y, x) mask, (x0, y0, x1, y1), both ends inside; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def to_rle(mask: NDArray[np.bool_]) -> str:
    """Encode a (rows, columns) mask by run lengths: `start:length` of every run of set pixels.

    Pixels are counted row by row from 0; spaces stand between runs.

    Examples:
        >>> to_rle(np.array([[False, True, True], [True, False, True]]))
        '1:3 5:1'
    """
    steps = np.diff(mask.ravel().astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return " ".join(f"{a}:{b - a}" for a, b in zip(starts, ends, strict=True))


def from_rle(rle: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode the (rows, columns) mask that `to_rle` wrote.

    Examples:
        >>> from_rle("1:3 5:1", (2, 3)).astype(int).tolist()
        [[0, 1, 1], [1, 0, 1]]

    Raises:
        PromptError: another form, or a run outside the shape.
    """
    mask = np.zeros(shape[0] * shape[1], dtype=bool)
    for run in rle.split():
        first, _, count = run.partition(":")
        start, length = (int(n) if _INDEX.fullmatch(n) else -1 for n in (first, count))
        if start < 0 or length < 1 or start + length > len(mask):
            raise PromptError(
                f"RLE start:length of pixels within {shape[0]} x {shape[1]}", repr(run[:40])
            )
        mask[start : start + length] = True
    return mask.reshape(shape)
