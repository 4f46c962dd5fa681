"""Checks that every prompt shares, and how numbers are shown in messages."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry

__all__ = ["drop_none", "inside", "listed", "numbers", "on_slice", "whole"]


def numbers(values: Sequence[float], count: int, expected: str) -> tuple[float, ...]:
    """Convert values to `count` finite numbers, or raise an error that says what was `expected`."""
    try:
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != count or not np.isfinite(found).all():
        raise PromptError(expected, repr(values), "give finite numbers")
    return found


def whole(index: int | None) -> int | None:
    """Check that the number of a slice is a whole number, or None."""
    try:
        return None if index is None else operator.index(index)
    except TypeError:
        raise PromptError("a whole number for the slice", repr(index)) from None


def on_slice(index: int | None, geometry: Geometry, axis: Axis, what: str) -> int:
    """Check the slice of a prompt against a grid and return it; 0 where there is only one."""
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


def inside(xy: Sequence[Sequence[float]], geometry: Geometry, axis: Axis, what: str) -> None:
    """Refuse points outside the slices along `axis`."""
    rows, columns = geometry.slice_shape(axis)
    for x, y in xy:
        if not (0 <= x <= columns - 1 and 0 <= y <= rows - 1):
            raise PromptError(
                f"coordinates inside the image (x 0..{columns - 1}, y 0..{rows - 1})",
                f"{what} reaching {listed((x, y))}",
                "correct it; coordinates are original pixels counted from 0",
            )


def listed(values: Iterable[float]) -> str:
    """Format numbers as they are written on the command line."""
    return ",".join(f"{v:g}" for v in values)


def drop_none(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of a prompt file without the fields that are None."""
    return {k: v for k, v in entry.items() if v is not None}
