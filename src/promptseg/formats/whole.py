"""Stored values -> label numbers: whole ones, those a rounding away from whole, and all others.

A float array saved into an integer file with a scale comes back as 0.99995, and a float file may hold
what a filter left of a label. The first is a rounding; the second is no label, and only the user knows
what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import LabelsError

__all__ = ["HIGHEST_LABEL", "ROUNDING", "whole_labels"]

HIGHEST_LABEL = 65_535
ROUNDING = 1e-3
"""What a value may lie beside a whole number and still be meant as that."""


def whole_labels(
    values: NDArray[Any], path: Path, notes: list[str], scale: Callable[[], str] = str
) -> NDArray[Any]:
    """Convert the values of a file to labels from 0 to 65535.

    Args:
        values: (..., y, x), of any real type.
        path: for messages.
        notes: said here if values had to be rounded.
        scale: tells how the file says that its values are scaled ("a slope of 0.1"); asked only
            where there is something to say.

    Returns:
        uint8 or uint16 of the same shape; values of these types are given back as they are.

    Raises:
        LabelsError: values that are no labels: the first of them, and where it is.
    """
    if values.dtype == np.bool_:
        return values.view(np.uint8)
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind not in "iuf":
        raise LabelsError(
            f"a label image of whole numbers from 0 to {HIGHEST_LABEL}",
            f"{path} with values of type {values.dtype}",
            "save the labels as whole numbers",
        )
    labels = np.empty(values.shape, dtype=np.uint16)
    furthest = 0.0
    for k, part in enumerate(values):  # part by part: no copy of a whole volume
        if values.dtype.kind == "f":
            rounded = np.rint(part)
            with np.errstate(invalid="ignore"):
                off = np.abs(part - rounded)
            wrong = ~(off < ROUNDING)  # NaN and infinities too
        else:
            rounded, off, wrong = part, None, np.zeros(part.shape, bool)
        wrong |= (rounded < 0) | (rounded > HIGHEST_LABEL)
        if wrong.any():
            raise _no_label(part, wrong, k, path, scale())
        if off is not None:
            furthest = max(furthest, float(off.max(initial=0)))
        labels[k] = rounded
    if furthest:
        said = f", stored with {how}," if (how := scale()) else ""
        notes.append(f"labels up to {furthest:.2g} beside whole numbers{said} were rounded to them")
    return labels


def _no_label(
    part: NDArray[Any], wrong: NDArray[np.bool_], k: int, path: Path, scale: str
) -> LabelsError:
    at = np.argwhere(wrong)[0]
    value = part[tuple(at)]
    place = ", ".join(str(int(n)) for n in (k, *at)[::-1])
    others = int(wrong.sum()) - 1
    told = f"{path}: {_shortest(value)} at {place}" + (
        f" and {others} more there" if others else ""
    )
    if scale:
        told += f", stored with {scale}"
    if value < 0 or value > HIGHEST_LABEL:
        do = "number the labels anew"
    elif np.isfinite(value):
        do = "round them to the labels they were, or set a threshold if they are probabilities"
    else:
        do = "replace it by a label"
    return LabelsError(f"a label image of whole numbers from 0 to {HIGHEST_LABEL}", told, do)


def _shortest(value: Any) -> str:
    """As few digits as show that a number is not whole: 0.988, 1.001."""
    texts = [f"{value:.{digits}g}" for digits in range(3, 9)]
    return next((text for text in texts if float(text) % 1), texts[-1])
