"""Libraries in C that write on standard error: what they say goes into our errors or nowhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

__all__ = ["quiet"]

_lock = threading.Lock()
_users = 0
_kept: int | None = None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from writing to the process's standard error, for as short a time as possible.

    ITK, GDCM, libtiff and the JPEG libraries complain there, in words of their own, of files that are
    then refused in ours, and while they merely probe what a file is.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _kept
    with _lock:
        if _users == 0:
            with contextlib.suppress(OSError, AttributeError, ValueError):  # there may be none
                sys.stderr.flush()
                _kept = os.dup(2)
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), 2)
        _users += 1


def _leave() -> None:
    global _users, _kept
    with _lock:
        _users -= 1
        if _users == 0 and _kept is not None:
            os.dup2(_kept, 2)
            os.close(_kept)
            _kept = None
