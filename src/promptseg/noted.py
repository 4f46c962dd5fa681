"""Notes on many files: counted for a summary, kept as a table, or refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from promptseg.errors import InputError

__all__ = ["counted", "lines_of", "refusal", "refuse"]

_SHOWN = 8
_NAMED = re.compile(
    r"^[^:]{1,255}\.[A-Za-z0-9]{1,8}(\.gz)?: "
)  # a file, before what is noted of it


def counted(notes: Iterable[str]) -> dict[str, int]:
    """Count the files that have each note, the most frequent first; the files' names are left out.

    Examples:
        >>> counted(["1.nii.gz: empty", "no spacing", "2.nii.gz: empty"])
        {'empty': 2, 'no spacing': 1}
    """
    found = Counter(_NAMED.sub("", str(note), count=1) for note in notes)
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def lines_of(counts: Mapping[str, int], what: str = "case") -> list[str]:
    """Format counted notes as lines, `3 cases: ...`; of the notes beyond the first few only the number
    is given.

    Examples:
        >>> lines_of({"no spacing": 3})
        ['3 cases: no spacing']
    """
    lines = [f"{n} {what}{'s' if n > 1 else ''}: {note}" for note, n in counts.items()]
    rest = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"and {rest} other notes"] if rest > 0 else [])]


def refusal(notes: Sequence[str], title: str) -> InputError:
    """Return the error for a file of which something was noted, where nothing may be.

    Args:
        notes: of the file, at least one.
        title: what a person calls it.
    """
    more = f" and {len(notes) - 1} more" if len(notes) > 1 else ""
    return InputError(
        "nothing to note of any file, as --strict asks",
        f"{title}: {notes[0]}{more}",
        "put the file right, or leave --strict out",
    )


def refuse(notes: Sequence[str], title: str) -> None:
    """Refuse a file of which anything was noted.

    Raises:
        InputError: there is a note.
    """
    if notes:
        raise refusal(notes, title)
