"""Lists of cases: a table with an image in each row, read row by row: a million need no memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from promptseg.errors import InputError, MissingPackageError, did_you_mean
from promptseg.formats.location import address_in, storage_in
from promptseg.formats.storage import open_text, opened

__all__ = ["LISTS", "SEGMENTING", "Case", "CaseList", "Columns", "is_case_list"]

LISTS = (".csv", ".tsv", ".parquet")
"""Endings of lists of cases."""

_ROWS_AT_A_TIME = 4096


class Columns(NamedTuple):
    """The names that columns of a list may have; those that begin with `#` are left alone.

    Attributes:
        image: what is read, which every row needs.
        paths: others that name files.
        words: others.
        needed: of these, which have to be there.
    """

    image: str = "image"
    paths: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return (self.image, *self.paths, *self.words)


SEGMENTING = Columns(
    paths=("prompts", "mask", "markers"),
    words=(
        *("output", "box", "box3d", "point", "text"),
        *("modality", "window", "axis", "slices"),
    ),
)
"""Columns of a list to segment."""


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
    """Tell whether a path has the ending of a list of cases.

    Examples:
        >>> is_case_list(Path("cases.csv")), is_case_list(Path("scan.nii.gz"))
        (True, False)
    """
    return path.suffix.lower() in LISTS


class CaseList:
    """A table of cases; relative paths in it are relative to its folder.

    Args:
        path: a .csv (commas or semicolons), .tsv or .parquet file with a head, of this machine or in
            storage (`promptseg.formats.location.storage_in`).
        columns: that it may have.

    Raises:
        InputError: it cannot be read, lacks a column, has one twice, or one that means nothing here.
        MissingPackageError: pyarrow is needed and not installed.

    Attributes:
        path, columns: as given.
        name: of the file.
        root: its folder.
    """

    def __init__(self, path: Path, columns: Columns = SEGMENTING) -> None:
        self.path, self.columns = path, columns
        self.name, self.root = path.name, path.parent
        self._read = _parquet_rows if path.suffix.lower() == ".parquet" else _text_rows
        head = self._head()
        known = [name for name in head if name in columns.all]
        for name in head:
            if name not in columns.all and not name.startswith("#"):
                advice = did_you_mean(name, columns.all)
                raise InputError(
                    f"columns out of {', '.join(columns.all)}",
                    f"{name!r} in {path}",
                    f"{advice} if it is for people to read, call it '#{name}'",
                )
        for needed in (columns.image, *columns.needed):
            if needed not in known:
                said = ", ".join(head) or "none"
                raise InputError(f"a column `{needed}`", f"{path} with {said}")

    def __iter__(self) -> Iterator[Case]:
        """The cases, each made when its turn comes.

        Raises:
            InputError: a row without an image, or a file that cannot be read to its end.
        """
        root, named = self.root, self.columns.image
        for row, values in enumerate(self._rows(), start=1):
            said = {k: v for k, v in values.items() if v and k in self.columns.all}
            for needed in (named, *self.columns.needed):
                if needed not in said:
                    what = "an image" if needed == "image" else f"a value for `{needed}`"
                    raise InputError(f"{what} in every row", f"none in row {row} of {self.path}")
            image = said.pop(named)
            for name in self.columns.paths:
                if name in said:
                    said[name] = str(_below(root, said[name]))
            yield Case(row, _below(root, image), said.pop("output", ""), said)

    def _head(self) -> list[str]:
        return list(next(self._read(self.path), {}))

    def _rows(self) -> Iterator[dict[str, str]]:
        rows = self._read(self.path)
        next(rows, None)  # the head
        return rows


def _below(root: Path, name: str) -> Path:
    """A path relative to a folder, or an address as it stands."""
    elsewhere = (storage_in(name) or address_in(name)) if ":/" in name else None
    return Path(elsewhere) if elsewhere else root / name


def _head_row(head: list[str], path: Path) -> dict[str, str]:
    """The head as a row of empty values; of a column that is there twice, rows would keep one."""
    for name in head:
        if name and not name.startswith("#") and head.count(name) > 1:
            raise InputError(
                "every column once",
                f"`{name}` {head.count(name)} times in {path}",
                "keep one; several prompts go into one cell, with ; between them",
            )
    return dict.fromkeys(head, "")


def _text_rows(path: Path) -> Iterator[dict[str, str]]:
    """The head, as a row of empty values, and the rows of a .csv or .tsv file."""
    try:
        with open_text(path) as stream:
            first = stream.readline()
            tabs = path.suffix.lower() == ".tsv"
            between = "\t" if tabs else ";" if first.count(";") > first.count(",") else ","
            reader = csv.reader(chain([first], stream), delimiter=between, strict=True)
            head = [name.strip() for name in next(reader, [])]
            yield _head_row(head, path)
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
        with _content(path) as content:
            file = parquet.ParquetFile(content)
            head = [str(name) for name in file.schema_arrow.names]
            yield _head_row(head, path)
            for batch in file.iter_batches(_ROWS_AT_A_TIME):
                for row in batch.to_pylist():
                    yield {name: _text(row[name]) for name in head}
    except (OSError, ArrowException) as error:
        raise InputError("a table in Parquet", f"{path} ({error})") from None


def _content(path: Path) -> AbstractContextManager[Any]:
    """What pyarrow reads: a path, or a file in storage."""
    return nullcontext(path) if storage_in(path) is None else opened(path)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
