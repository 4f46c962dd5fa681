"""Prompts as the command line writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from promptseg.errors import PromptError
from promptseg.geometry import Axis
from promptseg.prompts.millimetres import Millimetres
from promptseg.prompts.objects import Prompt
from promptseg.prompts.planar import Box, Box3D, Points
from promptseg.prompts.words import Text

__all__ = [
    "PARSERS",
    "parse_box",
    "parse_box3d",
    "parse_point",
    "parse_text",
    "text_of",
    "typed_prompts",
]

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TAIL = r"(?:@(?P<slice>-?\d{1,9}))?(?:=(?P<name>.+))?"


def _numbers(*counts: int) -> str:
    """Pattern of a list of so many numbers, with or without `mm`."""
    lists = "|".join(rf"{_NUMBER}(?:,{_NUMBER}){{{n - 1}}}" for n in counts)
    return rf"(?P<numbers>{lists})(?P<mm>mm)?"


_BOX = re.compile(_numbers(4, 6) + _TAIL)
_BOX3D = re.compile(_numbers(6) + r"(?:=(?P<name>.+))?")
_POINT = re.compile(_numbers(2, 3) + r",(?P<label>[+-])(?P<mm_after>mm)?" + _TAIL)


def parse_box(text: str) -> Box | Millimetres:
    """Read `x0,y0,x1,y1[@slice][=name]`, or in mm `x0,y0,z0,x1,y1,z1mm` or `x0,y0,x1,y1mm[@slice]`."""
    match = _BOX.fullmatch(_without_spaces(text))
    if not match or (not match["mm"] and match["numbers"].count(",") > 3):
        raise PromptError("a box written x0,y0,x1,y1[@slice][=name]", repr(text), "see --help")
    values, slice_ = _split(match["numbers"]), _index(match["slice"])
    if match["mm"]:
        half = len(values) // 2
        return Millimetres("box", (values[:half], values[half:]), (), slice_, match["name"])
    return Box(values, slice_, match["name"])  # type: ignore[arg-type]


def parse_box3d(text: str) -> Box3D | Millimetres:
    """Read `x0,y0,z0,x1,y1,z1[=name]`, voxel indices or, with `mm` after the numbers, LPS mm."""
    match = _BOX3D.fullmatch(_without_spaces(text))
    if not match:
        raise PromptError("a 3D box written x0,y0,z0,x1,y1,z1[=name]", repr(text), "see --help")
    values = _split(match["numbers"])
    if match["mm"]:
        return Millimetres("box3d", (values[:3], values[3:]), name=match["name"])
    return Box3D(values, match["name"])  # type: ignore[arg-type]


def parse_point(text: str) -> Points | Millimetres:
    """Read `x,y,+|-[@slice][=name]`, or in mm `x,y,zmm,+|-` or `x,ymm,+|-[@slice]`."""
    match = _POINT.fullmatch(_without_spaces(text))
    mm = match and (match["mm"] or match["mm_after"])
    if not match or (not mm and match["numbers"].count(",") > 1):
        raise PromptError("a point written x,y,+|-[@slice][=name]", repr(text), "see --help")
    xy, label = _split(match["numbers"]), int(match["label"] == "+")
    slice_ = _index(match["slice"])
    if mm:
        return Millimetres("points", (xy,), (label,), slice_, match["name"])
    return Points((xy,), (label,), slice_, match["name"])  # type: ignore[arg-type]


def parse_text(text: str) -> Text:
    """Read `WORDS [+x0,y0,x1,y1[@slice]] [-x0,y0,x1,y1[@slice]] [=name]`; see `Text`."""
    words, equals, name = text.partition("=")
    if equals and not name.strip():
        raise PromptError("a text written WORDS[=name]", repr(text), "see --help")
    return text_of(words, name.strip() or None)


def text_of(written: str, name: str | None = None, axis: Axis | None = None) -> Text:
    """Read a text without its name, along an axis.

    Raises:
        PromptError: brackets with something else in them, or no words and no box.
    """
    phrase, *rest = written.split("[")
    boxes: dict[str, list[Box]] = {"+": [], "-": []}
    for part in rest:
        inner, closed, after = part.strip().partition("]")
        sign = inner[:1]
        box = parse_box(inner[1:]) if closed and not after.strip() and sign in boxes else None
        if not isinstance(box, Box):
            raise PromptError(
                "a text written WORDS [+x0,y0,x1,y1[@slice]] [-x0,y0,x1,y1[@slice]]",
                repr(written),
                "see docs/words.md",
            )
        boxes[sign].append(replace(box, axis=axis))
    return Text(phrase.strip(), tuple(boxes["+"]), tuple(boxes["-"]), name, axis)


def _without_spaces(text: str) -> str:
    """Spaces may stand around numbers, signs and the name, not within a number."""
    numbers, equals, name = text.partition("=")
    return re.sub(r"\s*(,|@|mm)\s*", r"\1", numbers).strip() + equals + name.strip()


def _split(text: str) -> tuple[float, ...]:
    return tuple(float(t) for t in text.split(","))


def _index(text: str | None) -> int | None:
    return None if text is None else int(text)


PARSERS: dict[str, Callable[[str], Prompt]] = {
    "box": parse_box,
    "box3d": parse_box3d,
    "point": parse_point,
    "text": parse_text,
}
"""Option of the command line, which may be repeated -> what reads it."""


def typed_prompts(options: Any) -> list[Prompt]:
    """Parse the prompts that a user has typed.

    Args:
        options: a dataclass with a field of texts for every one of `PARSERS`, or for some.

    Raises:
        PromptError: a text that is none.
    """
    return [parse(text) for name, parse in PARSERS.items() for text in getattr(options, name, ())]
