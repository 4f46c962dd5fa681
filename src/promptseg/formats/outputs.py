"""May this be written? One answer for every verb: nothing that is read is ever written over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from promptseg.errors import OutputError
from promptseg.formats.begun import Begun
from promptseg.formats.detached import files_of
from promptseg.formats.files import beside, check_output, provenance_path
from promptseg.leftovers import clean

__all__ = ["Reads", "check_outputs"]

_Key = tuple[int, int]


class Reads:
    """All that a job reads: files with what belongs to them, and folders with all they hold.

    Args:
        paths: what is read; what is None or not there counts for nothing.
        masks: masks of ours that are read: the provenance beside them is too.
    """

    def __init__(self, paths: Iterable[Path | None], masks: Iterable[Path | None] = ()) -> None:
        named = [path for path in masks if path is not None]
        self.paths = [path for path in paths if path is not None] + named
        for mask in named:
            self.paths += [provenance_path(mask), beside(mask, ".json")]  # the latter once

    def holds(self, path: Path) -> bool:
        """Tell whether a path leads to a file that is read: by its name, a link or a second name."""
        key = _key(path)
        return key is not None and key in self._keys

    @cached_property
    def _keys(self) -> set[_Key]:
        """Device and number of every file; looked up only where an output is there already."""
        files = (file for path in self.paths for file in files_of(path))
        return {key for file in files if (key := _key(file)) is not None}


def check_outputs(
    outputs: Iterable[Path | None], overwrite: bool, reads: Reads | None = None
) -> None:
    """Refuse before any work what could not, or must not, be written after it.

    Args:
        outputs: files to write; those that are None are not.
        overwrite: whether the user has typed that what exists may be replaced; what a run that was
            killed left of them always may.
        reads: what the job reads, which is never replaced.

    Raises:
        OutputError: an output is read too, is named twice, exists without `overwrite`, or cannot be
            written.
    """
    named = [path for path in outputs if path is not None]
    begun = Begun([] if overwrite else named)
    for folder in {path.parent for path in named}:
        clean(folder)
    for number, path in enumerate(named):
        if path in named[:number]:
            raise OutputError("outputs with names of their own", f"{path} twice", "rename one")
        check_output(path, overwrite or begun.left(path))
        if reads is not None and reads.holds(path):
            raise OutputError(
                "outputs that are not inputs too", f"{path}, which is read", "choose another name"
            )


def _key(path: Path) -> _Key | None:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino
