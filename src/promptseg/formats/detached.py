"""Images in more than one file: which files belong to the one that is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from promptseg.formats.files import files_below

__all__ = ["HEADER_BYTES", "belonging_to", "data_file", "files_of"]

HEADER_BYTES = 1 << 16
"""Where a header has to end; a longer one could hide what it points to."""

# Blanks but no line breaks: a pattern that may cross lines tries all of them again from each.
_DATA_FILE = re.compile(
    rb"^[^\S\n]*(?:data ?file[^\S\n]*:|ElementDataFile[^\S\n]*[=:])([^\n]*)", re.I | re.M
)

_HALVES = ((".hdr", ".img"), (".head", ".brik"))


def data_file(header: bytes) -> str | None:
    """Read the name of the file with the voxels out of a NRRD or MetaImage header.

    Returns:
        What stands there, "LOCAL" where the header's own file has them; None without such a line.
    """
    match = _DATA_FILE.search(header)
    return None if match is None else match[1].strip().decode("utf-8", "replace")


def files_of(path: Path) -> list[Path]:
    """Return a file and those it needs, or all files of a folder; missing ones are left out."""
    if path.is_dir():
        return files_below(path)
    return [each for each in (path, *belonging_to(path)) if each.is_file()]


def belonging_to(path: Path) -> Iterator[Path]:
    """Yield the other files that an image cannot be read without, by its name and header; if they
    exist.

    Halves of a pair are found by their stem, whatever the case of the ending, packed or not.
    """
    name = path.name.lower().removesuffix(".gz")
    for halves in _HALVES:
        for own, other in (halves, halves[::-1]):
            if name.endswith(own):
                stem = path.name[: len(name) - len(own)]
                wanted = {(stem + ending).lower() for ending in (other, f"{other}.gz")}
                yield from (p for p in _siblings(path) if p.name.lower() in wanted)
    if name.endswith((".nhdr", ".mhd")):
        yield from _data_of(path)


def _siblings(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        return []


def _data_of(path: Path) -> Iterator[Path]:
    try:
        with path.open("rb") as stream:
            name = data_file(stream.read(HEADER_BYTES))
    except OSError:
        return
    if name and name != "LOCAL" and Path(name).name == name:
        yield path.parent / name
