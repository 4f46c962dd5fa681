"""A folder that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from promptseg.errors import OutputError
from promptseg.formats.files import check_output

__all__ = ["atomic_folder", "check_folder"]


def check_folder(path: Path, overwrite: bool, ours: Collection[str]) -> None:
    """Refuse early a folder that could not, or should not, be written later.

    Args:
        path: the folder.
        overwrite: whether it may be replaced.
        ours: names of the files it may hold to be replaced; with any other it is somebody's own.

    Raises:
        OutputError: it exists and may not be replaced, or the folder it goes into cannot be written.
    """
    try:
        names = sorted(p.name for p in path.iterdir())
    except FileNotFoundError:
        names = None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError("a folder for the export", f"{path} ({reason})") from None
    if names is not None and not overwrite:
        raise OutputError("a new output folder", f"{path}: exists", "choose another or --overwrite")
    if foreign := [name for name in names or () if name not in ours]:
        raise OutputError(
            "a folder with nothing but an earlier export to replace",
            f"{path}, which holds {foreign[0]}",
            "choose another folder",
        )
    check_output(path.absolute().with_name(f".part-{secrets.token_hex(4)}"), overwrite=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`; it takes the place of `path` if all goes well, else it goes.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    final = path.resolve()
    new, old = final.with_name(f".part-{token}"), final.with_name(f".old-{token}")
    try:
        new.mkdir(parents=True)
        yield new
        if final.exists():
            final.rename(old)
        try:
            new.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
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
        shutil.rmtree(old, ignore_errors=True)
