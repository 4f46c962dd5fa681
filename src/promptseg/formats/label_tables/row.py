"""One line of a table of labels: number, name, colour, and what else its family says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from promptseg.errors import InputError
from promptseg.formats.whole import HIGHEST_LABEL

__all__ = ["LabelRow", "colour_in", "label_in", "lines_of", "rows_of"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelRow:
    """One row of a table: a label, its name and its colour.

    Attributes:
        label: value of the voxels, from 1.
        name: what it is called; "" where the table does not say.
        colour: (red, green, blue) from 0 to 255.
        family: name of the kind of table.
        more: other fields of that kind, as they were written.
    """

    label: int
    name: str
    colour: Colour | None = None
    family: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


def label_in(text: str, line: int) -> int:
    """Parse the label that a line begins with; 0 is background.

    Raises:
        ValueError: no label; the message names the line.
    """
    if not (text.isascii() and text.isdigit()) or int(text) > HIGHEST_LABEL:
        raise ValueError(f"{text[:40]!r} as label in line {line}")
    return int(text)


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield every line that is neither empty nor a comment, with its number counted from 1."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def colour_in(words: list[str], line: int) -> Colour:
    """Parse a colour of three numbers from 0 to 255.

    Raises:
        ValueError: others; the message names the line.
    """
    try:
        red, green, blue = (int(word) for word in words)
    except ValueError:
        raise ValueError(f"{' '.join(words)[:40]!r} as colour in line {line}") from None
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"{' '.join(words)[:40]!r} as colour in line {line}")
    return red, green, blue


def rows_of(found: list[LabelRow], where: str) -> dict[int, LabelRow]:
    """Return the rows by label, without background.

    Raises:
        InputError: two rows of one label.
    """
    rows: dict[int, LabelRow] = {}
    for row in found:
        if row.label in rows:
            raise InputError(
                "a table with one line for every label", f"{where}: {row.label} twice", "correct it"
            )
        rows[row.label] = row
    rows.pop(0, None)
    return rows
