"""Rules of what is shown of private values; records name them in `public_fields`."""

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
    """Return a value as it is: a text, number or switch that can name nobody, or several."""
    return value


def every(value: Record | tuple[Record, ...] | None) -> Any:
    """Return the public part of a record, or of several, by their own rules."""
    if isinstance(value, tuple):
        return tuple(record.public() for record in value)
    return None if value is None else value.public()


def only(*names: str, **rules: Callable[[Any], Any]) -> Callable[[Mapping[str, Any] | None], Any]:
    """Build a rule that shows the entries `names` of a dictionary where they are plain, others by
    `rules`.
    """
    allowed = frozenset(names)

    def shown(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        plain = {k: v for k, v in value.items() if k in allowed and not isinstance(v, (dict, list))}
        return plain | {k: rule(value[k]) for k, rule in rules.items() if k in value}

    return shown


def file_name(value: Any) -> str | None:
    """Return the name of a file without its folder; a person chose it, as people choose names of
    objects.
    """
    return value.replace("\\", "/").rpartition("/")[2] if isinstance(value, str) else None


def stretches(value: Any) -> list[list[int]]:
    """Return the first and last frame of stretches of a video, and nothing else that stands there."""
    pairs = value if isinstance(value, list) else []
    return [p for p in pairs if isinstance(p, list) and [type(n) for n in p] == [int, int]]


def public_notes(notes: tuple[Note, ...] | None) -> tuple[Note, ...] | None:
    """Return the notes of kinds that name nobody; notes read from a file are of no known kind."""
    return None if notes is None else tuple(note for note in notes if note.is_public)


def prompt_entries(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the axis and the objects of a prompt file, not the name of the image."""
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
