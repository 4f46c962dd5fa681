"""Text from files that may be damaged: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["LONGEST_NAME", "name_fault", "parse_json"]

LONGEST_NAME = 1024
"""Characters of the name of an object; DICOM keeps 64, others any number."""


def name_fault(name: str) -> str | None:
    """Tell why a name cannot be written into every kind of file; None if it can."""
    if len(name) > LONGEST_NAME:
        return f"{name[:20]!r}... of {len(name):,} characters"
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which is no character
        return f"{name!r}, which is no valid Unicode"
    return None


def parse_json(text: str | bytes | bytearray) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: no JSON, no UTF-8, or nested more deeply than Python can follow.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
