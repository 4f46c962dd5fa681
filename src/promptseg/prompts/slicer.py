"""Markups of 3D Slicer (`.mrk.json`): fiducials are clicks, regions of interest are 3D boxes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.prompts.millimetres import Millimetres

__all__ = ["is_markups", "read_markups"]

_TO_LPS = {"LPS": np.array([1.0, 1, 1]), "RAS": np.array([-1.0, -1, 1]), 0: np.array([-1.0, -1, 1])}
_TO_LPS[1] = _TO_LPS["LPS"]
_POINT_LISTS = ("Fiducial", "PointSet")
_NEGATIVE = ("-", "negative", "background", "outside")


def is_markups(content: Any) -> bool:
    """Tell whether parsed JSON is a markups file."""
    return isinstance(content, dict) and isinstance(content.get("markups"), list)


def read_markups(content: dict[str, Any], path: Path) -> list[Millimetres]:
    """Read the prompts of every list in a markups file, in millimetres.

    A list is one object, named after the file (`liver.mrk.json` -> liver; further lists are numbered).
    A control point counts as outside the object if its label ends with "-" after a space or stands
    alone as "-", or if its description is "-", "negative", "background" or "outside".

    Raises:
        PromptError: a kind of markup that is no prompt, or fields of another form.
    """
    stem = path.name.removesuffix(".json").removesuffix(".mrk")
    found = []
    for n, markup in enumerate(content["markups"]):
        where = f"{path.name}: markups[{n}]"
        name = stem if n == 0 else f"{stem} {n + 1}"
        try:
            kind = markup.get("type", "Fiducial")
            flip = _TO_LPS[markup.get("coordinateSystem", "LPS")]
            if kind in _POINT_LISTS:
                found.append(_points(markup, flip, name, where))
            elif kind == "ROI":
                found.append(_region(markup, flip, name))
            else:
                raise PromptError(
                    f"{where}: fiducials or a region of interest", kind, "export one of those"
                )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise PromptError(
                f"{where}: a markup as 3D Slicer writes it", f"{type(error).__name__}: {error}"
            ) from None
    if not found:
        raise PromptError(f"{path.name}: at least one markup", "none")
    return found


def _points(
    markup: dict[str, Any], flip: NDArray[np.float64], name: str, where: str
) -> Millimetres:
    placed = [
        p
        for p in markup["controlPoints"]
        if p.get("positionStatus", "defined") == "defined" and p.get("selected", True)
    ]
    if not placed:
        raise PromptError(f"{where}: at least one placed control point", "none")
    positions = tuple(_triple(p["position"], flip) for p in placed)
    return Millimetres("points", positions, tuple(_label(p) for p in placed), name=name)


def _label(point: dict[str, Any]) -> int:
    label, description = str(point.get("label", "")), str(point.get("description", ""))
    negative = label.strip() == "-" or label.endswith(" -")
    return 0 if negative or description.strip().lower() in _NEGATIVE else 1


def _region(markup: dict[str, Any], flip: NDArray[np.float64], name: str) -> Millimetres:
    """A box from its centre, side lengths and axes (columns of `orientation`)."""
    centre = np.array(_triple(markup["center"], flip))
    half = np.asarray(markup["size"], dtype=float).reshape(3) / 2
    axes = np.asarray(markup.get("orientation", np.eye(3)), dtype=float).reshape(3, 3)
    axes = flip[:, None] * axes
    corners = [centre + axes @ (half * signs) for signs in product((-1, 1), repeat=3)]
    return Millimetres("box3d", tuple(tuple(c.tolist()) for c in corners), name=name, clip=True)


def _triple(position: Any, flip: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple((np.asarray(position, dtype=float).reshape(3) * flip).tolist())
