"""Folders as verbs leave them, in this version and in those whose lists had no mark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptseg.errors import OutputError
from promptseg.formats.own_folder import LIST

_WEIGHTS = ("model.safetensors", "card.json", "report.json", "train.csv")
NAMES = {
    "curate": ("parts/request.json", "collection.json", "notes.csv", "shards/us-0000.zip"),
    "evaluate": ("run.json", "rows.csv", "notes.csv", "report.html", "parts/m/2d/us/a/part.json"),
    "evaluate compare": ("comparison.json", "pairs.csv", "plots/a.svg"),
    "loop": ("loop.json", "rounds.csv", "report.html"),
    "train": ("options.json", "last.pt", "model.pth", *_WEIGHTS),
    "train merge": ("merge.csv", "model.pth", *_WEIGHTS),
    "train words": ("embeddings/about.json", *_WEIGHTS),
}


def filled(folder: Path, *names: str, mark: str | None = None) -> Path:
    """A folder with listed files; without a mark as earlier versions left it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"precious {name}")
    lines = [*([{"verb": mark}] if mark else []), *names]
    (folder / LIST).write_text("".join(f"\n{json.dumps(line)}\n" for line in lines))
    return folder


def unmarked(folder: Path) -> Path:
    """A folder of this version, as earlier ones left it."""
    lines = (folder / LIST).read_text().splitlines()
    (folder / LIST).write_text("\n".join(line for line in lines if "{" not in line) + "\n")
    return folder


def state(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_leaves_others(root: Path, verb: str, act: Callable[[Path, bool], Any]) -> None:
    """Let a verb loose on the folders of all others: it refuses each of them, and changes nothing.

    Args:
        root: for the folders.
        verb: which one.
        act: starts it; takes a folder, and whether to overwrite.
    """
    for other, names in NAMES.items():
        if other == verb:
            continue
        for mark in (None, other):
            folder = filled(root / f"{other}-{mark}", *names, mark=mark)
            before = state(folder)
            for overwrite in (False, True):
                said = re.escape(f"{folder} of promptseg {other}, which wrote ")
                with pytest.raises(OutputError, match=said):
                    act(folder, overwrite)
                assert state(folder) == before
