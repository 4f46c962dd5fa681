"""Inputs that what is made of some cases depends on: their files, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from promptseg.datasets.dataset import CaseFiles
from promptseg.formats.detached import files_of

__all__ = ["FileFacts", "facts_of_case", "facts_of_files", "facts_of_paths"]

FileFacts = tuple[str, int, int]
"""Name, size, time of change."""


def facts_of_files(cases: Iterable[CaseFiles]) -> dict[Path, FileFacts]:
    """Return name, size and time of every file of some cases, once; missing ones are left out."""
    return facts_of_paths(path for case in cases for path in (case.image, *case.truth))


def facts_of_paths(paths: Iterable[Path]) -> dict[Path, FileFacts]:
    """Return name, size and time of some files, of those of folders and of voxels beside a header."""
    found: dict[Path, FileFacts] = {}
    for path in dict.fromkeys(paths):
        with suppress(OSError):
            for file in files_of(path):
                facts = file.stat()
                found[file] = (file.name, facts.st_size, facts.st_mtime_ns)
    return found


def facts_of_case(case: CaseFiles) -> list[Any]:
    """Return what a case is apart from its files: name, patient, annotated frames, how it is read."""
    readers = [_said(case.image_reader), _said(case.truth_reader)]
    looked_for = [] if case.absent is None else [list(case.absent)]
    return [case.name, case.patient, case.annotated, *readers, *looked_for]


def _said(reader: Callable[..., Any]) -> str:
    """A reader in words that are the same in every process."""
    bound = ""
    while isinstance(reader, partial):
        bound += f" {reader.args!r} {sorted(reader.keywords.items())!r}"
        reader = reader.func
    return f"{reader.__module__}.{reader.__qualname__}{bound}"
