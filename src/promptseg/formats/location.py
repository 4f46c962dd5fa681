"""A path, or the address of a DICOMweb server: both stand where the user names an input or output.

Options hold a `Path`, and a path has only one slash where an address has two; this is the one place
that knows.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

__all__ = ["address_in", "written"]

_ADDRESS = re.compile(r"(dicomweb(?:\+https?)?):(?:/+(.*))?", re.IGNORECASE | re.DOTALL)


def address_in(path: str | PurePath) -> str | None:
    """The address `dicomweb://...` that a path stands for; None for a file or folder."""
    match = _ADDRESS.fullmatch(path.as_posix() if isinstance(path, PurePath) else path)
    return f"{match[1].lower()}://{match[2] or ''}" if match else None


def written(path: Path) -> str:
    """A path as it can be found from anywhere: absolute, or the address it stands for."""
    return address_in(path) or str(path.absolute())
