"""Sources of cases: a table, a folder in storage, a DICOMweb query; one case at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from promptseg.datasets.case_list import Case, CaseList, Columns, is_case_list
from promptseg.errors import InputError
from promptseg.formats.location import address_in, is_query, storage_in
from promptseg.formats.storage import files_at
from promptseg.formats.table import format_by_suffix

__all__ = ["Cases", "is_many", "local_folder", "open_cases"]


class Cases(Protocol):
    """Cases that are read as they are taken, any number of times.

    Attributes:
        name: what people call all of them.
        root: the folder that images lie below; results lie below the output folder as they do.
    """

    name: str
    root: Path

    def __iter__(self) -> Iterator[Case]: ...


def is_many(source: Path) -> bool:
    """Tell whether an input names cases in a way that `open_cases` takes.

    Examples:
        >>> [is_many(Path(text)) for text in ("cases.csv", "s3://bucket/scans/", "scan.nii.gz")]
        [True, True, False]
    """
    if address_in(source) is not None:
        return is_query(source)
    if is_case_list(source):
        return True
    return storage_in(source) is not None and format_by_suffix(source) is None


def open_cases(source: Path, columns: Columns) -> Cases:
    """Return the cases that an input names.

    Args:
        source: a table (.csv, .tsv, .parquet) of this machine or in storage, the address of a folder
            in storage, or a DICOMweb query.
        columns: that a table may have.

    Raises:
        InputError: a table that cannot be read, or with columns that mean nothing here.
    """
    if is_case_list(source):
        return CaseList(source, columns)
    if address_in(source) is not None:
        return _Found(source)
    if storage_in(source) is not None:
        return _Stored(source)
    raise InputError("a list of cases", str(source), "give a .csv, .tsv or .parquet file")


def local_folder(folder: Path, without: Path | None = None) -> Cases:
    """Return the files of known formats below a folder of this machine as cases.

    Args:
        folder: that is walked.
        without: a folder that is passed over: the one that results go to, which grows meanwhile.
    """
    return _Folder(folder, without)


class _Folder:
    def __init__(self, source: Path, without: Path | None) -> None:
        self.root, self.name = source, source.name
        self._without = without and os.path.realpath(without)

    def __iter__(self) -> Iterator[Case]:
        row = 0
        for folder, inside, names in os.walk(self.root):
            inside[:] = sorted(inside)
            if self._without is not None:
                real = (os.path.realpath(os.path.join(folder, name)) for name in inside)
                inside[:] = [n for n, r in zip(inside, real, strict=True) if r != self._without]
            for name in sorted(names):
                if format_by_suffix(Path(name)) is not None and not name.startswith("."):
                    row += 1
                    yield Case(row, Path(folder, name), "", {})


class _Stored:
    """Every image below a folder in storage."""

    def __init__(self, source: Path) -> None:
        self.root, self.name = source, storage_in(source) or str(source)

    def __iter__(self) -> Iterator[Case]:
        row = 0
        for path in files_at(self.root):
            known = format_by_suffix(path)
            if known is None or known.module in ("video", "dicom") or path.name.startswith("."):
                continue
            row += 1
            yield Case(row, path, "", {})


class _Found:
    """Every series of images that a DICOMweb server finds."""

    def __init__(self, source: Path) -> None:
        self.root, self.name = source, address_in(source) or str(source)

    def __iter__(self) -> Iterator[Case]:
        from promptseg.formats.dicomweb.query import series_matching

        for row, (address, _) in enumerate(series_matching(self.root), start=1):
            _, _, place = address.partition("/studies/")
            study, _, series = place.partition("/series/")
            yield Case(row, Path(address), f"{study}/{series}.nii.gz", {})
