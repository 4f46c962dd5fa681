"""Look-up tables of BIDS derivatives: `..._dseg.tsv` beside `..._dseg.nii.gz`.

Columns `index` and `name`, and where there are any `abbreviation`, `color` (#RRGGBB) and `mapping`, the
label of the same tissue in the table that the BIDS specification gives ("Common image-derived labels").
"""

from __future__ import annotations

import re

from promptseg.formats.colours import colour_of
from promptseg.formats.label_tables.row import LabelRow, label_in
from promptseg.image import Segment
from promptseg.names import for_csv, for_header, from_csv

__all__ = ["FAMILY", "cleaned", "parse", "text_of"]

FAMILY = "bids"
_MISSING = "n/a"
_COLOUR = re.compile(r"#([0-9a-fA-F]{6})")
_KEPT = ("abbreviation", "mapping")

_COMMON: dict[str, int] = {
    "background": 0,
    "grey matter": 1,
    "gray matter": 1,
    "white matter": 2,
    "cerebrospinal fluid": 3,
    "csf": 3,
    "bone": 4,
    "soft tissue": 5,
    "non-brain": 6,
    "lesion": 7,
    "cortical gray matter": 8,
    "cortical grey matter": 8,
    "subcortical gray matter": 9,
    "subcortical grey matter": 9,
    "brainstem": 10,
    "brain stem": 10,
    "cerebellum": 11,
}
"""Names of the specification's table of common labels -> their `mapping`."""


def parse(text: str) -> list[LabelRow]:
    """Parse a BIDS table of labels into its rows.

    Raises:
        ValueError: no such table; says where.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    head = [name.strip() for name in lines[0].split("\t")] if lines else []
    if not {"index", "name"} <= set(head):
        raise ValueError("without the columns index and name")
    found = []
    for number, line in enumerate(lines[1:], 2):
        cells = dict(zip(head, (cell.strip() for cell in line.split("\t")), strict=False))
        if len(line.split("\t")) != len(head):
            raise ValueError(f"{len(line.split(chr(9)))} cells in line {number}, not {len(head)}")
        said = {name: cell for name, cell in cells.items() if cell and cell != _MISSING}
        colour = _COLOUR.fullmatch(said.get("color", ""))
        if "color" in said and not colour:
            raise ValueError(f"{said['color'][:40]!r} as color in line {number}, not #RRGGBB")
        more = {name: said[name] for name in _KEPT if name in said}
        rgb = bytes.fromhex(colour[1]) if colour else None
        found.append(
            LabelRow(
                label_in(cells["index"], number),
                from_csv(said.get("name", "")),
                (rgb[0], rgb[1], rgb[2]) if rgb else None,
                FAMILY,
                more,
            )
        )
    return found


def text_of(segments: list[Segment]) -> str:
    """Format objects as a BIDS table; names that the specification lists get a `mapping`."""
    lines = ["index\tname\tabbreviation\tcolor\tmapping"]
    for segment in segments:
        said = _said(segment)
        mapping = said.get("mapping") or str(_COMMON.get(segment.name.casefold(), _MISSING))
        colour = "#{:02X}{:02X}{:02X}".format(*colour_of(segment))
        cells = [
            str(segment.label),
            for_csv(cleaned(segment.name)) or _MISSING,
            said.get("abbreviation", _MISSING),
            colour,
            mapping,
        ]
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def cleaned(name: str) -> str:
    """Return a name as a cell can hold it: without tabs, line ends, and blanks around it."""
    return " ".join(for_header(name).split("\n")).replace("\t", " ").strip()


def _said(segment: Segment) -> dict[str, str]:
    """What the table it was read from says of an object, if it still is called so."""
    row = segment.origin
    same = isinstance(row, LabelRow) and row.family == FAMILY and row.name == cleaned(segment.name)
    return dict(row.more) if same else {}
