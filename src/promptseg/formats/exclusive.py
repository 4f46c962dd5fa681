"""The right to go on with a file: one process has it at a time, and loses it when it ends.

It is a lock of the system on a file of its own, which a crash gives back: a process number in a file
would say nothing on a network disk. Where a disk knows no locks, or nothing can be written, everybody
has the right; whoever writes looks whether the file is still theirs.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from promptseg.errors import OutputError

__all__ = ["Exclusive", "put_aside"]

_TRIES = 10
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Exclusive:
    """The right to go on with one file, until it is released or the process ends.

    Args:
        lock: the file that is locked.
        descriptor: of the lock, open; None where a lock cannot be had.
    """

    def __init__(self, lock: Path, descriptor: int | None) -> None:
        self._lock, self._descriptor = lock, descriptor

    @classmethod
    def take(cls, path: Path, by_force: bool = False) -> Exclusive | None:
        """Take the right to a file or folder, which need not be there.

        Args:
            path: the file; the lock lies beside it.
            by_force: take it from whoever has it, who finds that it is `lost`.

        Returns:
            The right; None if another process, or another one here, has it.
        """
        lock = path.with_name(f"{path.name}.lock")
        for _ in range(_TRIES):
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError:
                return cls(lock, None)
            found = cls(lock, descriptor)
            try:
                taken = not _locked(descriptor)
            except OSError:  # no locks here
                found.release()
                return cls(lock, None)
            if not taken and found._is_named:
                return found
            os.close(descriptor)
            found._descriptor = None
            if taken and not by_force:
                return None
            if taken:
                with suppress(OSError):  # of Windows, which removes nothing that is open
                    lock.unlink()
        return None

    @property
    def lost(self) -> bool:
        """Tell whether another process has taken it by force."""
        return self._descriptor is not None and self._lock.exists() and not self._is_named

    def release(self) -> None:
        """Let others have it; nothing if it was released."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform == "win32":
            os.close(descriptor)
            with suppress(OSError):
                self._lock.unlink()
            return
        with suppress(OSError):  # before it is unlocked: who locks it now looks whether it is named
            if os.path.samestat(os.fstat(descriptor), self._lock.stat()):
                self._lock.unlink()
        os.close(descriptor)

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the interpreter nothing may be there any more
            self.release()

    @property
    def _is_named(self) -> bool:
        """Whether the file that is locked has its name still."""
        try:
            return os.path.samestat(os.fstat(self._descriptor or 0), self._lock.stat())
        except OSError:
            return False


def put_aside(session: Path) -> Path | None:
    """Keep what somebody did under another name beside it.

    Args:
        session: a file, or a folder.

    Returns:
        Where it is now; None where there was nothing.

    Raises:
        OutputError: it cannot be renamed.
    """
    now = time.time_ns()
    name = f"{session.stem.partition('-')[0]}-{now}{session.suffix}"
    if session.is_dir():
        name = f"aside-{session.name}-{now}"
    aside = session.with_name(name)
    try:
        session.rename(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            "an earlier session that can be kept under another name",
            f"{session.name} ({error.strerror})",
            "close what has it open, or let the server write there",
        ) from None
    return aside


def _locked(descriptor: int) -> bool:
    """Lock a file, if nobody else has.

    Raises:
        OSError: it cannot be locked, by nobody.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True
