"""Says what is shown of a private value: the rules that records name in `public_fields`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from promptseg.notes import Note
from promptseg.provenance.record import Record

__all__ = [
    "PROMPT_FIELDS",
    "as_it_is",
    "every",
    "file_name",
    "only",
    "prompt_entries",
    "public_notes",
    "stretches",
]

PROMPT_FIELDS = frozenset(
    {"axis", "name", "boxes", "points", "box3d", "box3d_mm", "masks", "markers", "text"}
)
"""What a prompt file may say of an object."""


def as_it_is(value: Any) -> Any:
    """Return a text, number or switch that can name nobody, or several."""
    return value


def every(value: Record | tuple[Record, ...] | None) -> Any:
    """Return what a record, or several, show themselves."""
    if isinstance(value, tuple):
        return tuple(record.public() for record in value)
    return None if value is None else value.public()


def only(*names: str, **rules: Callable[[Any], Any]) -> Callable[[Mapping[str, Any] | None], Any]:
    """Return the entries `names` of a dictionary where they are plain, and those with their own
    rule.
    """
    allowed = frozenset(names)

    def shown(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        plain = {k: v for k, v in value.items() if k in allowed and not isinstance(v, (dict, list))}
        return plain | {k: rule(value[k]) for k, rule in rules.items() if k in value}

    return shown


def file_name(value: Any) -> str | None:
    """Return the name of a file without its folder; a person gave it, as names of objects."""
    return value.replace("\\", "/").rpartition("/")[2] if isinstance(value, str) else None


def stretches(value: Any) -> list[list[int]]:
    """Return first and last frame of stretches of a video, and nothing else that may stand there."""
    pairs = value if isinstance(value, list) else []
    return [p for p in pairs if isinstance(p, list) and [type(n) for n in p] == [int, int]]


def public_notes(notes: tuple[Note, ...] | None) -> tuple[Note, ...] | None:
    """Return notes of a kind that names nobody; those of a file that was read are of no known kind."""
    return None if notes is None else tuple(note for note in notes if note.is_public)


def prompt_entries(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return axis and objects of a prompt file; not the name of the image."""
    if value is None:
        return None
    entries = value.get("objects")
    shown: dict[str, Any] = {k: v for k, v in value.items() if k == "axis"}
    shown["objects"] = [
        {k: v for k, v in entry.items() if k in PROMPT_FIELDS}
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
    ]
    return shown
