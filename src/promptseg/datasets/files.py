"""Files that a text in a folder names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from promptseg.errors import InputError

__all__ = ["named_file"]


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
