"""A folder that is written whole or not at all, and replaced only where it is an export of ours."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from promptseg.errors import OutputError
from promptseg.formats.outputs import Reads, check_outputs
from promptseg.formats.text import read_text
from promptseg.leftovers import clean, part_name

__all__ = ["CARD", "atomic_folder", "check_folder"]

CARD = "card.json"
"""Lists the files of an export."""


def check_folder(path: Path, overwrite: bool, reads: Reads | None = None) -> None:
    """Refuse early a folder that could not, or should not, be written later.

    Args:
        path: the folder.
        overwrite: whether an export of ours in it may be replaced.
        reads: what the job reads, which is never replaced.

    Raises:
        OutputError: it exists and may not be replaced, holds anything else, or the folder it goes into
            cannot be written.
    """
    names = _names(path)
    if names is not None and not overwrite:
        raise OutputError("a new output folder", f"{path}: exists", "choose another or --overwrite")
    beside = path.absolute().with_name(part_name())
    check_outputs([*(path / name for name in names or ()), beside], overwrite=True, reads=reads)
    _require_export(path, path)


@contextlib.contextmanager
def atomic_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """Provide an empty folder, which takes the place of `path` if all goes well and is removed if not.

    Raises:
        OutputError: the folder cannot be made or written, the disk is full, or something else than an
            export that may be replaced is there by then.
    """
    final = path.resolve()
    new, old = final.with_name(part_name()), final.with_name(part_name(".old"))
    try:
        new.mkdir(parents=True)
        clean(final.parent)
        yield new
        if os.path.lexists(final):
            if not overwrite:
                raise OutputError("a new output folder", f"{path}, which has appeared meanwhile")
            final.rename(old)
        try:
            _require_export(old, path)
            new.rename(final)
        except (OSError, OutputError):
            if old.exists():
                old.rename(final)
            raise
        for name in _names(old) or ():
            (old / name).unlink()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space left on the disk" if full else (error.strerror or str(error))
        raise OutputError(
            "a folder that can be written",
            f"{path} ({reason})",
            "free some space" if full else "choose another one",
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        with contextlib.suppress(OSError):
            old.rmdir()


def _names(path: Path) -> list[str] | None:
    """What is in a folder; None if it is not there."""
    try:
        return sorted(p.name for p in path.iterdir())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("a folder for the export", f"{path} ({reason})") from None


def _require_export(path: Path, named: Path) -> None:
    """Refuse a folder with anything but the files that the card of an export in it lists."""
    names = _names(path)
    if not names:
        return
    listed: set[str] = set()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        card = json.loads(read_text(path / CARD))
        listed = {CARD, *card["files"]} if "promptseg" in card["versions"] else set()
    foreign = [n for n in names if n not in listed or (path / n).is_symlink()]
    foreign += [n for n in names if n not in foreign and (path / n).is_dir()]
    if foreign:
        raise OutputError(
            "a folder with nothing but an earlier export to replace",
            f"{named}, which holds {', '.join(foreign[:5])}",
            "choose another folder",
        )
