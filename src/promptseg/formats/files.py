"""Writing so that nothing is half-written and nothing of the user's is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from promptseg.errors import OutputError

__all__ = ["atomic_path", "beside", "check_output"]

_DOUBLE_ENDINGS = (".nii.gz", ".seg.nrrd", ".seg.dcm", ".rtstruct.dcm", ".rtss.dcm")


def beside(path: Path, ending: str) -> Path:
    """`mask.nii.gz` -> `mask` + `ending`: the name of what is written beside a mask."""
    name = path.name
    for double in _DOUBLE_ENDINGS:
        if name.lower().endswith(double):
            return path.with_name(name[: -len(double)] + ending)
    return path.with_name(path.stem + ending)


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse early what could not be written later.

    Raises:
        OutputError: the file exists and `overwrite` is not set, or its folder cannot be written.
    """
    try:
        exists = path.stat() is not None
    except (FileNotFoundError, NotADirectoryError):
        exists = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("an output that can be written", f"{path} ({reason})") from None
    if exists and path.is_dir():
        raise OutputError("an output file", f"{path}: a folder", "name a file in it")
    if exists and not overwrite:
        raise OutputError("a new output file", f"{path}: exists", "choose another or --overwrite")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            "a folder that can be written", f"{folder} ({error.strerror})", "choose another one"
        ) from None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` with the same ending; renamed to `path` if all goes well.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    ending = path.name[len(beside(path, "").name) :]
    temporary = path.with_name(f".part-{os.getpid()}-{secrets.token_hex(4)}{ending}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no space left on the disk" if full else (error.strerror or str(error))
        raise OutputError(
            "an output that can be written",
            f"{path} ({reason})",
            "free some space" if full else "choose another folder",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
