"""Facts found on the way, said to the user and kept with the result: a text and what kind it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

__all__ = ["ENGINE", "PUBLIC_KINDS", "Note", "notes_of"]

READER: Final = "reader"
"""What a reader found in a file; it may name files, servers and people."""

ENGINE: Final = "engine"
"""That another engine ran than the one asked for."""

PUBLIC_KINDS: Final = frozenset({"intensity", "values"})
"""Kinds of notes that only say how voxel values were treated: they may stay with `--deidentify`."""


class Note(str):
    """A note is its text, and knows its kind, so that nobody has to look for words in it.

    Args:
        text: the note.
        kind: "reader" (found in a file), "frame" (which of several frames was read), "turned" (pixels
            turned upright), "engine" (another one ran), "intensity" or "values" (how voxel values are
            treated).
        advice: what could be done about it; it stands at the end, after a semicolon.
        facts: the numbers in it, by name: `index` and `count` of a frame.

    Attributes:
        bare: the text without the advice.

    Examples:
        >>> note = Note("every voxel is 3", "values")
        >>> note, note.kind, note.is_public
        ('every voxel is 3', 'values', True)
    """

    kind: str
    bare: str
    facts: dict[str, int]

    def __new__(cls, text: str, kind: str | None = None, advice: str = "", **facts: int) -> Self:
        """The text as a note of a kind; a note stays what it is."""
        note = super().__new__(cls, f"{text}; {advice}" if advice else text)
        known = text if isinstance(text, Note) else None
        note.bare = known.bare if known else text
        note.kind = kind or (known.kind if known else READER)
        note.facts = facts or (dict(known.facts) if known else {})
        return note

    @classmethod
    def frame(cls, index: int, count: int, detail: str = "") -> Self:
        """Note that one of several frames was read."""
        text = f"frame {index} of {count}" + (f": {detail}" if detail else "")
        return cls(text, "frame", index=index, count=count)

    @property
    def is_public(self) -> bool:
        """Tell whether the note is of a kind that names no person and no place."""
        return self.kind in PUBLIC_KINDS


def notes_of(notes: Iterable[str], kind: str) -> list[Note]:
    """Return the notes of one kind."""
    return [note for note in notes if isinstance(note, Note) and note.kind == kind]
