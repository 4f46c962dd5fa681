"""Paths: what can be read, and writing so that nothing is half-written or lost."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from promptseg.errors import InputError, OutputError

__all__ = ["atomic_path", "beside", "check_output", "files_below", "is_file", "require_file"]

_DOUBLE_ENDINGS = (".nii.gz", ".seg.nrrd", ".seg.dcm", ".rtstruct.dcm", ".rtss.dcm")


def beside(path: Path, ending: str) -> Path:
    """`mask.nii.gz` -> `mask` + `ending`: the name of what is written beside a mask."""
    name = path.name
    for double in _DOUBLE_ENDINGS:
        if name.lower().endswith(double):
            return path.with_name(name[: -len(double)] + ending)
    return path.with_name(path.stem + ending)


def is_file(path: Path) -> bool:
    """Whether a path is a file with bytes in it to read: no folder, device, socket or pipe.

    Raises:
        OSError: it is not there or cannot be looked at (permissions, a loop of links).
        ValueError: no path at all (a NUL character).
    """
    return stat.S_ISREG(path.stat().st_mode)


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and its subfolders, in order; links are followed wherever they lead.

    A folder or file that several links lead to is met once, by the first of its names in order, and a
    loop of links ends. A link to nothing is among the files: it names what is missing.

    Raises:
        InputError: a folder that cannot be listed, whose files would be missing without a word.
    """
    found: dict[tuple[int, int], Path] = {}
    lost: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for at, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        folders.sort()
        facts = os.stat(at)
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        for name in names:
            path = Path(at) / name
            try:
                facts = path.stat()
            except OSError:
                lost.append(path)
                continue
            key = (facts.st_dev, facts.st_ino)
            if key not in found or (found[key].is_symlink() and not path.is_symlink()):
                found[key] = path
    return sorted([*found.values(), *lost])


def _raise(error: OSError) -> None:
    raise InputError(
        "a folder that can be read",
        f"{error.filename} ({error.strerror})",
        "give yourself the right to read it",
    )


def require_file(path: Path, expected: str) -> None:
    """Refuse what cannot be opened and read as a file; a pipe would block for ever.

    Args:
        path: what is to be opened.
        expected: for the message.

    Raises:
        InputError: it is missing, no file, empty or not readable.
    """
    try:
        if not is_file(path):
            raise InputError(expected, f"{path}: not a file (a folder, device, socket or pipe)")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise InputError(expected, f"{path}: an empty file", "get it again")
    except FileNotFoundError:
        raise InputError(expected, f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(expected, f"{path!s} ({reason})") from error


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse early what could not be written later.

    Raises:
        OutputError: the file exists and `overwrite` is not set, or its folder cannot be written.
    """
    try:
        exists, special = True, not is_file(path)
    except (FileNotFoundError, NotADirectoryError):
        exists = special = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("an output that can be written", f"{path} ({reason})") from None
    if exists and path.is_dir():
        raise OutputError("an output file", f"{path}: a folder", "name a file in it")
    if special:
        raise OutputError("an output file", f"{path}: a device, socket or pipe", "name a file")
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
