"""Label descriptions of ITK-SNAP: number, red, green, blue, opacity, visibility twice, and a name.

    1   255    0    0        1  1  1    "liver"

Lines that begin with # are comments; 0 is the clear label.
"""

from __future__ import annotations

import re

from promptseg.formats.colours import colour_of
from promptseg.formats.label_tables.row import LabelRow, colour_in, label_in, lines_of
from promptseg.image import Segment
from promptseg.names import for_header

__all__ = ["FAMILY", "cleaned", "parse", "text_of"]

FAMILY = "itk-snap"
_ROW = re.compile(r'\s*(\d+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+"(.*)"\s*')
_KEPT = ("opacity", "visible", "mesh")
_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def parse(text: str) -> list[LabelRow]:
    """Parse an ITK-SNAP label description into its rows.

    Raises:
        ValueError: something else; says where.
    """
    found = []
    for number, line in lines_of(text):
        match = _ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"no 7 numbers and a name in quotes in line {number}")
        label, red, green, blue, *more, name = match.groups()
        found.append(
            LabelRow(
                label_in(label, number),
                name,
                colour_in([red, green, blue], number),
                FAMILY,
                dict(zip(_KEPT, more, strict=True)),
            )
        )
    if not found:
        raise ValueError("without a label")
    return found


def text_of(segments: list[Segment]) -> str:
    """Format objects as an ITK-SNAP label description; opacity and visibility stay as read."""
    lines = [_line(0, (0, 0, 0), ["0", "0", "0"], "Clear Label")]
    for segment in segments:
        row = segment.origin
        kept = row.more if isinstance(row, LabelRow) and row.family == FAMILY else {}
        shown = [kept.get(name, "1") for name in _KEPT]
        lines.append(_line(segment.label, colour_of(segment), shown, cleaned(segment.name)))
    return _HEAD + "\n".join(lines) + "\n"


def cleaned(name: str) -> str:
    """Return a name as one line of a label description can hold it."""
    return " ".join(for_header(name).split("\n"))


def _line(label: int, colour: tuple[int, int, int], shown: list[str], name: str) -> str:
    red, green, blue = colour
    opacity, visible, mesh = shown
    return f'{label:>5} {red:>5}{green:>5}{blue:>5}  {opacity:>7}{visible:>3}{mesh:>3}    "{name}"'
