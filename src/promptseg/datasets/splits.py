"""Tables of parts: which case belongs to training, validation or test."""

from __future__ import annotations

import csv
from pathlib import Path

from promptseg.datasets.collection import SPLITS, Split
from promptseg.errors import InputError
from promptseg.formats.text import composed, csv_table

__all__ = ["read_splits"]


def read_splits(path: Path) -> dict[tuple[str, str], Split]:
    """Read a CSV table with the columns dataset, case and part.

    Raises:
        InputError: no such file, other columns or parts, or a case in two parts.
    """
    try:
        rows = list(csv_table(path))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError("a CSV file of parts", f"{path} ({error})", "correct --splits") from None
    if not rows or not {"dataset", "case", "part"} <= set(rows[0]):
        raise InputError(
            "the columns dataset, case and part", f"{path} without them", "name them in its head"
        )
    named: dict[str, Split] = {part: part for part in SPLITS}
    found: dict[tuple[str, str], Split] = {}
    for number, row in enumerate(rows, 2):
        place = (composed(str(row["dataset"]).strip()), composed(str(row["case"]).strip()))
        part = named.get(str(row["part"]).strip())
        if part is None:
            raise InputError(
                f"a part out of {', '.join(SPLITS)}",
                f"{row['part']!r} in line {number} of {path}",
                "correct it",
            )
        if found.setdefault(place, part) != part:
            raise InputError(
                "every case in one part",
                f"{'/'.join(place)} in {found[place]} and {part}",
                f"correct {path}",
            )
    return found
