"""Files of a loop that are copies: whole under their names, or not there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from promptseg.errors import OutputError
from promptseg.formats.files import files_below
from promptseg.leftovers import part_name

__all__ = ["copied", "linked"]


def copied(source: Path, target: Path) -> None:
    """Copy a file or a folder; what is there stays.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    if target.exists():
        return
    temporary = target.with_name(part_name())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def linked(source: Path, target: Path) -> None:
    """Give a file of ours, or all files of a folder, a second name; copy where that cannot be.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    if source.is_dir():
        for file in files_below(source):
            linked(file, target / file.relative_to(source))
        return
    temporary = target.with_name(part_name())
    try:
        if target.exists() and _same(source, target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _same(one: Path, other: Path) -> bool:
    a, b = one.stat(), other.stat()
    return one.samefile(other) or (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _refused(target: Path, error: OSError) -> OutputError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "no space left on the disk" if full else (error.strerror or str(error))
    do = "free some space" if full else "choose another --output"
    return OutputError(
        "a copy that can be written",
        f"{target} ({reason})",
        f"{do} and give the same command again: nothing is lost",
    )
