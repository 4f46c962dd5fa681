"""The files behind a path: those of a folder, and the voxels that a header keeps beside it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["files_of"]

_BESIDE = {".hdr": (".img",), ".hdr.gz": (".img.gz",), ".head": (".brik", ".brik.gz")}
_SAID = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+?)[ \t]*\r?$", re.M | re.I)
_HEADER = 1 << 16  # bytes; of .mhd and .nhdr, which are text


def files_of(path: Path) -> list[Path]:
    """The file with what it needs, or all files of a folder; what is not there is left out."""
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    return [each for each in (path, *_voxels_of(path)) if each.is_file()]


def _voxels_of(path: Path) -> list[Path]:
    name = path.name.lower()
    if name.endswith((".mhd", ".nhdr")):
        try:
            with path.open("rb") as stream:
                said = _SAID.findall(stream.read(_HEADER))
        except OSError:
            return []
        return [path.parent / each.decode("utf-8", "replace") for each in said]
    ending = next((each for each in _BESIDE if name.endswith(each)), "")
    stem = path.name[: len(path.name) - len(ending)]
    beside = _BESIDE.get(ending, ())
    return [path.parent / f"{stem}{form}" for each in beside for form in (each, each.upper())]
