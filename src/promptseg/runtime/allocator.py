"""The C library's allocator, told to keep the memory that every slice needs again."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

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
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {_M_TRIM_THRESHOLD: 512 * _MIB, _M_TOP_PAD: 64 * _MIB, _M_MMAP_THRESHOLD: 32 * _MIB}
    answers = [mallopt(option, value) for option, value in wanted.items()]
    return all(answer == 1 for answer in answers)
