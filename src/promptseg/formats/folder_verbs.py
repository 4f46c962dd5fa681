"""Verbs that fill a folder of their own, and how a list of files tells which of them has filled it.

A list holds a mark, `{"verb": "train"}`. Lists of earlier versions have none: there the file that only
one verb writes tells whose the folder is.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

__all__ = ["Verb", "mark_of", "marked", "verbs_by_files"]

Verb = Literal[
    "curate",
    "evaluate",
    "evaluate compare",
    "evaluate --seeds",
    "train",
    "train --seeds",
    "train merge",
    "train words",
    "loop",
    "segment",
    "demo",
]

_FILES: dict[str, Verb] = {
    "parts/request.json": "curate",
    "run.json": "evaluate",
    "comparison.json": "evaluate compare",
    "options.json": "train",
    "merge.csv": "train merge",
    "embeddings/about.json": "train words",
    "loop.json": "loop",
}
"""Name of a file -> the one verb that lists it, which it does before it writes anything."""


def marked(verb: str) -> dict[str, str]:
    """Return the line of a list that says whose the folder is.

    Examples:
        >>> mark_of(marked("loop"))
        'loop'
    """
    return {"verb": verb}


def mark_of(line: Any) -> str | None:
    """Return the verb that a line of a list names; None where the line is no mark.

    Args:
        line: as read from JSON; a verb of a later version is one as well.
    """
    verb = line.get("verb") if isinstance(line, dict) else None
    return verb if isinstance(verb, str) else None


def verbs_by_files(root: Path, listed: Container[str]) -> set[str]:
    """Return the verbs whose own file is listed: those whose file is there still, if there are any.

    Args:
        root: the folder.
        listed: names of the files in its list.
    """
    found = {verb: (root / name).exists() for name, verb in _FILES.items() if name in listed}
    return {verb for verb, there in found.items() if there or not any(found.values())}
