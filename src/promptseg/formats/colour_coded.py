"""Colour-coded masks: a table of colours -> label numbers. Without a table, colours are no labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, LabelsError

__all__ = [
    "Colours",
    "colours_of",
    "colours_text",
    "labels_of_colours",
    "parse_colours",
    "refuse_colours",
]

Colours = Mapping[tuple[int, int, int], int]
"""(red, green, blue) from 0 to 255 -> label."""

_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_BLACK = (0, 0, 0)
_SHOWN = 4
_MANY = 64  # colours beyond which a 2D image is no mask


def parse_colours(text: str) -> Colours:
    """Parse colours of labels such as "1=#800000,2=#008000".

    Raises:
        InputError: anything else, or one colour for two labels.
    """
    said: list[tuple[str, str]] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        label, _, colour = (part.strip() for part in entry.partition("="))
        if not label.isdecimal() or not _HEX.fullmatch(colour):
            raise InputError("colours as 1=#800000,2=#008000", repr(text), "correct --colours")
        said.append((label, colour))
    return _table(said, "--colours")


def colours_of(said: Any, where: str) -> Colours:
    """Read a table of colours by label, each "#800000" or [128, 0, 0].

    Raises:
        InputError: anything else, or one colour for two labels.
    """
    if not isinstance(said, dict) or not said:
        raise InputError('colours as {"1": "#800000", "2": [0, 128, 0]}', f"{where}: {said!r}")
    return _table(said.items(), where)


def _table(said: Iterable[tuple[Any, Any]], where: str) -> Colours:
    """Several colours may stand for one label."""
    found: dict[tuple[int, int, int], int] = {}
    for label, colour in said:
        match = _HEX.fullmatch(colour) if isinstance(colour, str) else None
        numbers = [int(part, 16) for part in match.groups()] if match else colour
        whole = isinstance(numbers, list) and all(type(n) is int and 0 <= n < 256 for n in numbers)
        if not str(label).isdecimal() or not whole or len(numbers) != 3:
            raise InputError(
                'colours as {"1": "#800000", "2": [0, 128, 0]}', f"{where}: {label!r}: {colour!r}"
            )
        if found.setdefault(tuple(numbers), int(label)) != int(label):
            raise InputError(
                "one label for each colour", f"{where}: {colour!r} twice", "correct it"
            )
    found.setdefault(_BLACK, 0)
    return found


def colours_text(colours: Colours) -> str | None:
    """Return a table of colours as `parse_colours` reads it; None for an empty one."""
    each = (f"{label}={_hex(*colour)}" for colour, label in colours.items() if label)
    return ",".join(each) or None


def labels_of_colours(pixels: NDArray[Any], colours: Colours, path: Path) -> NDArray[np.uint16]:
    """Convert a colour-coded mask (..., 3) of 8 bits to labels (...).

    Raises:
        LabelsError: a colour that the table does not have, and where it is.
    """
    keys = _keys(pixels, path)
    labels = np.zeros(keys.shape, dtype=np.uint16)
    known = np.zeros(keys.shape, dtype=bool)
    for (red, green, blue), label in colours.items():
        here = keys == (red << 16 | green << 8 | blue)
        labels[here] = label
        known |= here
    if not known.all():
        at = np.argwhere(~known)[0]
        place = ", ".join(str(int(n)) for n in at[::-1])
        raise LabelsError(
            f"colours out of {', '.join(_hex(*c) for c in colours)}",
            f"{path}: {_shown(keys[tuple(at)])} at {place}, and {int((~known).sum())} such in all",
            "add it to the table of colours, or save the mask without smoothing or loss",
        )
    return labels


def refuse_colours(pixels: NDArray[Any], path: Path) -> LabelsError:
    """Return the error about a mask in colours without a table of them."""
    try:
        found = [_shown(key) for key in np.unique(_keys(pixels, path))]
    except LabelsError as error:
        return error
    if len(found) > _MANY:
        return LabelsError(
            "a label image of whole numbers from 0",
            f"{path}, a 2D image of {len(found)} colours",
            "name the file of labels",
        )
    listed = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    return LabelsError(
        "a label image of whole numbers from 0",
        f"{path} in {len(found)} colours ({listed})",
        'say which label each colour is: --colours "1=#800000,2=#008000", or "colours" in '
        "dataset.json",
    )


def _keys(pixels: NDArray[Any], path: Path) -> NDArray[np.uint32]:
    if pixels.dtype != np.uint8:
        raise LabelsError(
            "a label image of whole numbers from 0",
            f"{path} in colours of type {pixels.dtype}",
            "save the labels as numbers",
        )
    parts = pixels.astype(np.uint32)
    red, green, blue = (parts[..., k] for k in range(3))
    codes: NDArray[np.uint32] = red * np.uint32(65_536) + green * np.uint32(256) + blue
    return codes


def _hex(red: int, green: int, blue: int) -> str:
    return f"#{red:02x}{green:02x}{blue:02x}"


def _shown(key: Any) -> str:
    return f"#{int(key):06x}"
