"""Facts found on the way, said to the user and kept with the result: a text and what kind it is."""

from __future__ import annotations

from typing import Final

__all__ = ["PUBLIC_KINDS", "Note"]

READER: Final = "reader"
"""What a reader found in a file; it may name files, servers and people."""

PUBLIC_KINDS: Final = frozenset({"intensity", "values"})
"""Kinds of notes that only say how voxel values were treated: they may stay with `--deidentify`."""


class Note(str):
    """A note is its text, and knows its kind, so that nobody has to look for words in it.

    Args:
        text: the note.
        kind: "reader" (found in a file), "frame" (which of several frames was read), "intensity" or
            "values" (how voxel values are treated).

    Example:
        >>> note = Note("every voxel is 3", "values")
        >>> note, note.kind, note.is_public
        ('every voxel is 3', 'values', True)
    """

    kind: str

    def __new__(cls, text: str, kind: str | None = None) -> Note:
        """The text as a note of a kind; a note stays what it is."""
        note = super().__new__(cls, text)
        note.kind = kind or (text.kind if isinstance(text, Note) else READER)
        return note

    @property
    def is_public(self) -> bool:
        """Whether it can name nobody and no place."""
        return self.kind in PUBLIC_KINDS
