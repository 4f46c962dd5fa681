"""Lists of cases: a table with an image in each row, read row by row: a million need no memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, MissingPackageError, did_you_mean

__all__ = ["COLUMNS", "LISTS", "Case", "CaseList", "is_case_list"]

LISTS = (".csv", ".tsv", ".parquet")
"""Endings of lists of cases."""

COLUMNS = (
    *("image", "output", "box", "box3d", "point", "text", "prompts", "mask", "markers"),
    *("modality", "window", "axis", "slices"),
)
"""Columns that a list may have; `image` it must have. Others begin with `#` and are left alone."""

_PATHS = ("image", "prompts", "mask", "markers")
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Case:
    """One row of a list.

    Attributes:
        row: its number, from 1; the head has none.
        image: what is to be segmented.
        output: the mask, below the output folder; empty where its name comes from the image's.
        options: column -> what the row says, of those that it says anything in.
    """

    row: int
    image: Path
    output: str
    options: Mapping[str, str]


def is_case_list(path: Path) -> bool:
    """Whether a path has the ending of a list of cases.

    Example:
        >>> is_case_list(Path("cases.csv")), is_case_list(Path("scan.nii.gz"))
        (True, False)
    """
    return path.suffix.lower() in LISTS


class CaseList:
    """A table of cases; relative paths in it are relative to its folder.

    Args:
        path: a .csv (commas or semicolons), .tsv or .parquet file with a head.

    Raises:
        InputError: it cannot be read, has no column `image`, or one that means nothing here.
        MissingPackageError: pyarrow is needed and not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = _parquet_rows if path.suffix.lower() == ".parquet" else _text_rows
        head = self._head()
        known = [name for name in head if name in COLUMNS]
        for name in head:
            if name not in COLUMNS and not name.startswith("#"):
                raise InputError(
                    f"columns out of {', '.join(COLUMNS)}",
                    f"{name!r} in {path}",
                    f"{did_you_mean(name, COLUMNS)} if it is for people to read, call it '#{name}'",
                )
        if "image" not in known:
            raise InputError("a column `image`", f"{path} with {', '.join(head) or 'none'}")
        if len(set(known)) < len(known):
            raise InputError("every column once", f"{path} with {', '.join(head)}")

    def __iter__(self) -> Iterator[Case]:
        """The cases, each made when its turn comes.

        Raises:
            InputError: a row without an image, or a file that cannot be read to its end.
        """
        root = self.path.parent
        for row, values in enumerate(self._rows(), start=1):
            said = {k: v for k, v in values.items() if v and k in COLUMNS}
            image = said.pop("image", "")
            if not image:
                raise InputError("an image in every row", f"none in row {row} of {self.path}")
            options = {k: str(root / v) if k in _PATHS else v for k, v in said.items()}
            yield Case(row, root / image, options.pop("output", ""), options)

    def _head(self) -> list[str]:
        return list(next(self._read(self.path), {}))

    def _rows(self) -> Iterator[dict[str, str]]:
        rows = self._read(self.path)
        next(rows, None)  # the head
        return rows


def _text_rows(path: Path) -> Iterator[dict[str, str]]:
    """The head, as a row of empty values, and the rows of a .csv or .tsv file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            tabs = path.suffix.lower() == ".tsv"
            between = "\t" if tabs else ";" if first.count(";") > first.count(",") else ","
            reader = csv.reader(stream, delimiter=between, strict=True)
            head = [name.strip() for name in next(reader, [])]
            yield dict.fromkeys(head, "")
            for cells in reader:
                if not any(cells):
                    continue
                if len(cells) != len(head):
                    raise InputError(
                        f"{len(head)} cells in every row",
                        f"{len(cells)} in line {reader.line_num} of {path}",
                        'put cells with commas in quotes: "10,20,60,80"',
                    )
                yield dict(zip(head, (cell.strip() for cell in cells), strict=True))
    except OSError as error:
        raise InputError("a list that can be read", f"{path} ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("a table in UTF-8", f"{path} ({error})") from None


def _parquet_rows(path: Path) -> Iterator[dict[str, str]]:
    """The head and the rows of a .parquet file, a few thousand in memory at a time."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingPackageError("pyarrow", "for lists in Parquet", "parquet") from None
    try:
        file = parquet.ParquetFile(path)
        head = [str(name) for name in file.schema_arrow.names]
        yield dict.fromkeys(head, "")
        for batch in file.iter_batches(_ROWS_AT_A_TIME):
            for row in batch.to_pylist():
                yield {name: _text(row[name]) for name in head}
    except (OSError, ArrowException) as error:
        raise InputError("a table in Parquet", f"{path} ({error})") from None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
