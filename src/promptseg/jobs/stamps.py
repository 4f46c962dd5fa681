"""Stamps of files: what has to be the same for a result that is there to be one of these files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from promptseg.formats.detached import belonging_to
from promptseg.formats.files import files_below, read_provenance_beside
from promptseg.formats.label_tables import table_for
from promptseg.formats.location import address_in, storage_in
from promptseg.work import request_hash

__all__ = ["mask_stamp", "stamp"]


def stamp(path: Path, output: Path | None = None) -> Any:
    """Return what changes with the content of an image: size and time, or what storage says of it.

    A folder is known by all files in it, a header by the file with its voxels too. A series on a server
    is known by its UID, which stands in its address.

    Args:
        path: the file or folder.
        output: the result, which with all that stands beside it is no part of a folder that holds it.

    Raises:
        OSError: no such file.
        InputError: a folder that cannot be read, or no such file in storage.
    """
    if address_in(path) is not None:
        return []
    if storage_in(path) is not None:
        from promptseg.formats.storage import stamp as stamp_in_storage

        return stamp_in_storage(path)
    if os.path.isdir(path):
        files = [file for file in files_below(path) if not _is_result(file, path, output)]
        return request_hash({"files": [_facts(file, path) for file in files]})
    others = sorted(file for file in belonging_to(path) if file.is_file())
    return [*_facts(path, path)[1:], *(_facts(file, path.parent) for file in others)]


def mask_stamp(path: Path) -> Any:
    """Return what changes with the content of a mask and with what its objects are called.

    The table of labels and the provenance that are found beside a mask are read with it.

    Raises:
        OSError, InputError: as `stamp`.
    """
    found = stamp(path)
    if address_in(path) is not None or storage_in(path) is not None or os.path.isdir(path):
        return found
    if (table := table_for(path, [])) is not None:
        found = [*found, _facts(table.path, path.parent)]
    if told := read_provenance_beside(path):
        found = [*found, request_hash(told)]
    return found


def _is_result(file: Path, folder: Path, output: Path | None) -> bool:
    """Whether a file of an input folder is the result, or lies beside it in a folder for results."""
    if output is None:
        return False
    if output.parent != folder and output.is_relative_to(folder):
        return file.is_relative_to(output.parent)
    return file.parent == output.parent and file.name.startswith(output.name)


def _facts(file: Path, root: Path) -> list[Any]:
    """The name as seen from a folder, size and time of a file; of a link to nothing the name alone."""
    name = os.path.relpath(file, root)
    try:
        facts = file.stat()
    except FileNotFoundError:
        if file == root:
            raise
        return [name]
    return [name.replace(os.sep, "/"), facts.st_size, facts.st_mtime_ns]
