"""The provenance that stands beside a mask file, if it can be trusted to tell of its objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptseg.errors import InputError
from promptseg.formats.files import read_provenance_beside
from promptseg.image import FoundByWords
from promptseg.provenance import Provenance

__all__ = ["provenance_of"]

_HIGHEST_LABEL = 65_535


def provenance_of(path: Path, notes: list[str]) -> Provenance:
    """Return the provenance beside a mask of ours; an empty one where it is another's, or damaged.

    Args:
        path: the mask file.
        notes: that it is damaged is added.
    """
    content = read_provenance_beside(path)
    if not isinstance(content.get("objects"), list):
        return Provenance()
    try:
        _check_sound(content)
        return Provenance.from_json(content)
    except InputError as error:
        notes.append(f"the provenance beside {path.name} is not used: {error}")
        return Provenance()


def _check_sound(content: dict[str, Any]) -> None:
    """Refuse a provenance that could not be written again, or whose objects are none of ours."""
    try:
        json.dumps(content, allow_nan=False)
    except (ValueError, RecursionError):
        raise InputError("finite numbers in a provenance", "others") from None
    if not all(isinstance(o, dict) and _is_told(o) for o in content["objects"]):
        raise InputError("objects with labels and names", "others")


def _is_told(entry: dict[str, Any]) -> bool:
    label, prompted = entry.get("label", 0), entry.get("prompted_slices", [])
    numbers = [label, *prompted] if isinstance(prompted, list) else [None]
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    named = isinstance(entry.get("name", ""), str)
    return whole and named and 0 <= label <= _HIGHEST_LABEL and _are_words(entry.get("words"))


def _are_words(words: Any) -> bool:
    try:
        return words is None or bool(FoundByWords.from_json(words))
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
