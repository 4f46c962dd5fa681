"""The C library's allocator: what slices need again is kept, what sessions leave is given back."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

_MIB = 1 << 20

# Names and numbers of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


@cache
def keep_freed_memory() -> bool:
    """Stop glibc from handing freed activations back to the kernel after every layer.

    Each hand-back makes the next layer fault its pages in again, which cost LiteMedSAM's encoder
    about a quarter of its time. Up to 512 MiB of freed memory stays with the process. Nothing is
    changed where the user has set the allocator (`MALLOC_...` or `GLIBC_TUNABLES`), nor with another
    C library.

    Returns:
        Whether the allocator was told.
    """
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if chosen:
        return False
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    wanted = {_M_TRIM_THRESHOLD: 512 * _MIB, _M_TOP_PAD: 64 * _MIB, _M_MMAP_THRESHOLD: 32 * _MIB}
    answers = [mallopt(option, value) for option, value in wanted.items()]
    return all(answer == 1 for answer in answers)


def give_back_freed_memory() -> None:
    """Let the system have what was freed, as at the end of a session; nothing with another C library.

    glibc keeps a heap for every few threads, and what is freed in one is not used by another, so that
    a server with many threads grows without holding more.
    """
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return found
