"""Images in more than one file: which files belong to the one that is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DATA_FILE", "HEADER_BYTES", "belonging_to"]

HEADER_BYTES = 1 << 16
"""Where a header has to end; a longer one could hide what it points to."""

DATA_FILE = re.compile(rb"^\s*(?:data ?file\s*:|ElementDataFile\s*[=:])\s*(.*?)\s*$", re.I | re.M)
"""The line of a NRRD or MetaImage header that names the file with its voxels."""

_HALVES = ((".hdr", ".img"), (".head", ".brik"))


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
            match = DATA_FILE.search(stream.read(HEADER_BYTES))
    except OSError:
        return
    name = "LOCAL" if match is None else match[1].decode("utf-8", "replace")
    if name != "LOCAL" and Path(name).name == name:
        yield path.parent / name
