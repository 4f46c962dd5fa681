"""The files behind a path: those of a folder, and the voxels that a header keeps beside it."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from promptseg.errors import InputError
from promptseg.formats.files import files_below

__all__ = ["files_of", "named_file"]

_BESIDE = {".hdr": (".img",), ".hdr.gz": (".img.gz",), ".head": (".brik", ".brik.gz")}
_SAID = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+?)[ \t]*\r?$", re.M | re.I)
_HEADER = 1 << 16  # bytes; of .mhd and .nhdr, which are text


def files_of(path: Path) -> list[Path]:
    """Return a file and those it needs, or all files of a folder; missing ones are left out."""
    if path.is_dir():
        return files_below(path)
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


def named_file(root: Path, said: str, where: str) -> Path:
    """Return the path of a file that a text names inside a folder; it may not be there.

    A name leads into its folder only: no absolute path, no "..". What lies there may be a link, which
    the user has put there, wherever it leads. Separators of Windows, and names that another system has
    decomposed, are understood.

    Args:
        root: the folder.
        said: a path relative to it.
        where: the file that says so, for messages.

    Raises:
        InputError: a name that leads out of the folder.
    """
    forms = [said, unicodedata.normalize("NFC", said), unicodedata.normalize("NFD", said)]
    forms += [form.replace("\\", "/") for form in forms]
    paths = [Path(os.path.normpath(root / form)) for form in dict.fromkeys(forms)]
    base = Path(os.path.normpath(root))
    if "\0" in said or not all(path.is_relative_to(base) for path in paths):
        raise InputError("files inside the dataset's folder", f"{said!r} in {where}", "correct it")
    return next((path for path in paths if path.exists()), paths[0])
