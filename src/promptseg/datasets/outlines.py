"""Outlines of COCO annotations: polygons and run lengths."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError

__all__ = ["check_outline", "decode", "run_lengths"]

_LARGE = 4  # pixels along a side: smaller 2D images have little else than 0 and 1


def check_outline(outline: Any, size: tuple[int, int], where: str) -> None:
    """Refuse an annotation that has no outline, or one beyond the 2D image.

    Args:
        outline: as in `decode`.
        size: (height, width) of the 2D image.
        where: for the message.

    Raises:
        InputError: as said.
    """
    height, width = size
    if isinstance(outline, dict) and {"size", "counts"} <= set(outline):
        if list(outline["size"]) != [height, width]:
            raise InputError(
                f"run lengths of {width} x {height} pixels",
                f"{where}: {outline['size'][::-1]}",
                "correct it",
            )
        runs = run_lengths(outline["counts"])
        if min(runs, default=0) < 0 or sum(runs) != height * width:
            raise InputError(
                f"run lengths of {height * width} pixels",
                f"{where}: {sum(runs)} pixels",
                "correct it",
            )
        return
    if not isinstance(outline, list) or not outline:
        raise InputError(
            "an annotation with an outline", f"{where} with none or a box alone", "outline it"
        )
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise InputError("polygons of 3 corners or more, x and y each", where, "correct it")
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        if not ((corners >= -1) & (corners <= [width + 1, height + 1])).all():
            raise InputError(
                f"outlines inside the 2D image of {width} x {height} pixels", where, "correct it"
            )
        if min(width, height) > _LARGE and corners.min() >= 0 and corners.max() <= 1:
            raise InputError(
                "outlines in pixels",
                f"{where} with all corners from 0 to 1: normalised ones?",
                f"multiply x by {width} and y by {height}",
            )


def decode(outline: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Fill polygons, as pycocotools does, or run lengths, as a (height, width) mask.

    Args:
        outline: [[x, y, x, y, ...], ...], or {"size", "counts"} with counts as numbers or text.
        height: of the 2D image.
        width: of the 2D image.

    Raises:
        InputError: polygons, and pycocotools is not installed.
    """
    if isinstance(outline, dict):
        counts = run_lengths(outline["counts"])
        return (np.repeat(np.arange(len(counts)), counts) % 2 > 0).reshape(width, height).T
    try:
        tools: Any = import_module("pycocotools.mask")
    except ImportError:
        raise InputError(
            "pycocotools, which fills the polygons of COCO",
            "an installation without it",
            "pip install 'promptseg[evaluate]'",
        ) from None
    filled = tools.decode(tools.merge(tools.frPyObjects(outline, height, width)))
    return np.asarray(filled).astype(bool)


def run_lengths(counts: list[int] | str) -> list[int]:
    """Run lengths out of numbers or COCO's text.

    In the text every character holds 5 bits of a number, the lowest first, and a sixth that says
    whether it goes on; from the fourth number on it is the difference to the one two before.

    Raises:
        ValueError: text that ends within a number, or other characters.
    """
    if isinstance(counts, list):
        return [int(number) for number in counts]
    numbers: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths with {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:  # negative
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths that end within a number")
    return numbers
