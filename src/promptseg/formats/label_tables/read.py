"""Tables of labels -> names and colours of the objects of a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from promptseg.errors import InputError
from promptseg.formats.bids_names import inherited_tables, is_dseg
from promptseg.formats.files import is_file, require_file
from promptseg.formats.label_tables.beside import TABLES, TableKind, places
from promptseg.formats.label_tables.row import LabelRow, rows_of
from promptseg.formats.numbers import number_in
from promptseg.formats.text import read_text
from promptseg.image import Segment

__all__ = ["LabelTable", "read_table", "table_for", "with_table"]

_LARGEST = 16 << 20  # bytes; a table of 65,535 labels has about 4 MB


@dataclass(frozen=True)
class LabelTable:
    """A table that was read.

    Attributes:
        path: where it is.
        rows: what it says, by label.
        cleaned: a name as its form can hold it.
        own: whether it is of one mask alone, so that a label without voxels is an empty object.
    """

    path: Path
    rows: Mapping[int, LabelRow]
    cleaned: Callable[[str], str]
    own: bool = False


def read_table(path: str | Path) -> LabelTable:
    """Read a table of labels in any of the forms, told by what is in it.

    Raises:
        InputError: no such file, none of the forms, or a label twice.
    """
    path = Path(path)
    require_file(path, "a table of labels")
    if path.stat().st_size > _LARGEST:
        raise InputError("a table of labels of at most 16 MiB", f"{path}", "name another file")
    faults = []
    for kind in _by_ending(path):
        try:
            found = kind.load().parse(read_text(path))
        except ValueError as error:
            faults.append(f"as {kind.title}: {error}")
            continue
        return LabelTable(path, rows_of(found, str(path)), kind.load().cleaned)
    raise InputError(
        f"a table of labels ({', '.join(kind.title for kind in TABLES)})",
        f"{path} ({faults[0]})",
        "correct it",
    )


def table_for(mask: Path, notes: list[str]) -> LabelTable | None:
    """Find the table that belongs to a mask, beside it or (BIDS) above it; None if there is none.

    Args:
        mask: the mask file.
        notes: a table that is there and cannot be used is added.
    """
    for kind in TABLES:
        if kind.name == "bids" and not is_dseg(mask):
            continue
        for path in places(mask, kind):
            if found := _tried(path, kind, notes):
                return replace(found, own=True)
    for path in inherited_tables(mask) if is_dseg(mask) else ():
        if found := _tried(path, TABLES[0], notes):
            return found
    return None


def with_table(
    segments: list[Segment], table: LabelTable, dimensions: int, notes: list[str]
) -> list[Segment]:
    """Return the objects with the names and colours that a table gives them.

    A name that the table could only hold in a changed form stays as it is known.

    Args:
        segments: the objects.
        table: what they are called.
        dimensions: of the grid.
        notes: names that were others are added, and labels that the table does not name.
    """
    found, unknown = [], []
    for segment in segments:
        row = table.rows.get(segment.label)
        if row is None:
            unknown.append(segment.label)
            found.append(segment)
            continue
        name = row.name or segment.name
        if table.cleaned(segment.name) == table.cleaned(name):
            name = segment.name
        elif segment.name != "object" and number_in(segment.name) is None:
            notes.append(f"{table.path.name} calls {segment.name!r} {name!r}: taken")
        origin = segment.origin if segment.origin is not None else row
        colour = row.colour or segment.colour
        found.append(replace(segment, name=name, colour=colour, origin=origin))
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
        notes.append(f"{table.path.name} does not name label {shown}")
    if table.own:
        there = {segment.label for segment in segments}
        nowhere, nothing = (slice(0, 0),) * dimensions, np.zeros((0,) * dimensions, dtype=bool)
        for label, row in table.rows.items():
            if label not in there:
                name = row.name or f"label {label}"
                found.append(Segment(name, label, nothing, nowhere, colour=row.colour, origin=row))
    return sorted(found, key=lambda s: s.label) if table.own else found


def _tried(path: Path, kind: TableKind, notes: list[str]) -> LabelTable | None:
    """A table that may be there; a file of another kind under a common ending is none."""
    try:
        if not is_file(path) or path.stat().st_size > _LARGEST:
            return None
        module = kind.load()
        return LabelTable(path, rows_of(module.parse(read_text(path)), path.name), module.cleaned)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if not path.name.endswith(kind.generic) or kind.name == "bids":
            notes.append(f"{path.name} beside the mask is not used: {error}")
        return None
    except InputError as error:
        notes.append(f"{path.name} beside the mask is not used: {error}")
        return None


def _by_ending(path: Path) -> list[TableKind]:
    """The forms a file may have, the one of its ending first."""
    return sorted(TABLES, key=lambda kind: not path.name.lower().endswith(kind.read))
