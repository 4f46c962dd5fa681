"""Outlines of COCO annotations: polygons and run lengths."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError

__all__ = ["check_outline", "decode"]


def check_outline(outline: Any, size: tuple[int, int], where: str) -> None:
    """Refuse an annotation that has no outline, or one beyond the picture.

    Args:
        outline: as in `decode`.
        size: (height, width) of the picture.
        where: for the message.

    Raises:
        InputError: as said.
    """
    height, width = size
    if isinstance(outline, dict) and {"size", "counts"} <= set(outline):
        if list(outline["size"]) != [height, width]:
            raise InputError(
                f"run lengths of {width} x {height} pixels", f"{where}: {outline['size'][::-1]}"
            )
        counts = outline["counts"]
        if isinstance(counts, list) and (min(counts) < 0 or sum(counts) != height * width):
            raise InputError(
                f"run lengths of {height * width} pixels", f"{where}: {sum(counts)} pixels"
            )
        return
    if not isinstance(outline, list) or not outline:
        raise InputError("an annotation with an outline", f"{where} with none or a box alone")
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise InputError("polygons of 3 corners or more, x and y each", where, "correct it")
        corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        if not ((corners >= -1) & (corners <= [width + 1, height + 1])).all():
            raise InputError(
                f"outlines inside the picture of {width} x {height} pixels", where, "correct it"
            )


def decode(outline: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Polygons or run lengths -> (height, width) mask, as pycocotools draws them.

    Args:
        outline: [[x, y, x, y, ...], ...], or {"size", "counts"} with counts as numbers or text.
        height: of the picture.
        width: of the picture.

    Raises:
        InputError: pycocotools is not installed, or it is neither.
    """
    try:
        tools: Any = import_module("pycocotools.mask")
    except ImportError:
        raise InputError(
            "pycocotools, which decodes COCO outlines",
            "an installation without it",
            "pip install 'promptseg[evaluate]'",
        ) from None
    if isinstance(outline, list):
        runs = tools.merge(tools.frPyObjects(outline, height, width))
    elif isinstance(outline.get("counts"), list):
        runs = tools.frPyObjects(outline, height, width)
    else:
        runs = {**outline, "counts": str(outline["counts"]).encode("ascii")}
    return np.asarray(tools.decode(runs)).astype(bool)
