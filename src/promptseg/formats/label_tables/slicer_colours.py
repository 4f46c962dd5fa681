"""Colour tables of 3D Slicer (`.ctbl`): number, name, red, green, blue, opacity, all from 0 to 255.

    1 left_kidney 221 130 101 255

Slicer writes blanks in names as underscores and reads underscores as blanks; so is it done here.
"""

from __future__ import annotations

from promptseg.formats.colours import colour_of
from promptseg.formats.label_tables.row import LabelRow, colour_in, label_in, lines_of
from promptseg.image import Segment
from promptseg.names import for_header

__all__ = ["FAMILY", "cleaned", "parse", "text_of"]

FAMILY = "slicer"
_FIELDS = 6


def parse(text: str) -> list[LabelRow]:
    """Parse a colour table of 3D Slicer into its rows.

    Raises:
        ValueError: something else; says where.
    """
    found = []
    for number, line in lines_of(text):
        words = line.split()
        if len(words) != _FIELDS:
            raise ValueError(f"no number, name and 4 parts of a colour in line {number}")
        label, name, *rgb, opacity = words
        found.append(
            LabelRow(
                label_in(label, number),
                cleaned(name),
                colour_in(rgb, number),
                FAMILY,
                {"opacity": opacity},
            )
        )
    if not found:
        raise ValueError("without a colour")
    return found


def text_of(segments: list[Segment]) -> str:
    """Format objects as a colour table of 3D Slicer; opacity stays as it was read."""
    lines = [f"# Color table file, {len(segments) + 1} values", "0 background 0 0 0 0"]
    for segment in segments:
        row = segment.origin
        kept = row.more if isinstance(row, LabelRow) and row.family == FAMILY else {}
        red, green, blue = colour_of(segment)
        name = cleaned(segment.name).replace(" ", "_") or "_"
        lines.append(f"{segment.label} {name} {red} {green} {blue} {kept.get('opacity', '255')}")
    return "\n".join(lines) + "\n"


def cleaned(name: str) -> str:
    """Return a name as a colour table gives it back: underscores and blanks become single blanks."""
    return " ".join(for_header(name).replace("_", " ").split())
