"""Numbers of objects: those of a file, but for what no label image can hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["number_in", "usable_labels"]

_HIGHEST = 65_535
_NAMED_BY_NUMBER = re.compile(r"label ([1-9]\d{0,4})")


def number_in(name: str) -> int | None:
    """Return the number in a name such as "label 7", made for an object without one; None in others."""
    match = _NAMED_BY_NUMBER.fullmatch(name)
    number = int(match[1]) if match else 0
    return number if 0 < number <= _HIGHEST else None


def usable_labels(wanted: Sequence[tuple[str, int]], notes: list[str]) -> list[int]:
    """Return the label of each object: its own number, or a free one where that is not possible.

    Args:
        wanted: name and number of each object in the file; the first of several with one number has it.
        notes: what had to change is added.

    Returns:
        Labels from 1 to 65,535, all different.
    """
    taken: set[int] = set()
    labels: list[int] = []
    for _, number in wanted:
        usable = 1 <= number <= _HIGHEST and number not in taken
        labels.append(number if usable else 0)
        taken.add(labels[-1])
    free, changed = 1, []
    for k, label in enumerate(labels):
        if label:
            continue
        while free in taken:
            free += 1
        taken.add(free)
        labels[k] = free
        name, number = wanted[k]
        changed.append(f"{name!r} {number} -> {free}")
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if changed[5:] else "")
        notes.append(f"numbers that a label image cannot hold, or of several objects: {shown}")
    return labels
