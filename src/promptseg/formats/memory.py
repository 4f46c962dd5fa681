"""An estimate before allocation, so that a header cannot ask for more memory than there is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

from promptseg.errors import InputError

__all__ = ["DEFLATE_AT_BEST", "available_bytes", "require_memory", "require_stored"]

DEFLATE_AT_BEST = 1032
_GZIP, _OTHER_COMPRESSIONS = b"\x1f\x8b", (b"BZ", b"\x28\xb5", b"\x1f\x9d")


def available_bytes() -> int | None:
    """Return memory that can be used without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def require_memory(shape: Sequence[int], bytes_per_voxel: int, path: Path) -> None:
    """Refuse an image that does not fit into memory.

    Args:
        shape: size of the image.
        bytes_per_voxel: of the stored type; as much again is reckoned for work on it.
        path: for the message.

    Raises:
        InputError: it would not fit.
    """
    needed, available = 2 * prod(int(n) for n in shape) * bytes_per_voxel, available_bytes()
    if available is not None and needed > available:
        raise InputError(
            f"an image that fits into the {available / 2**30:.1f} GiB of free memory",
            f"{path}: {' x '.join(map(str, shape))} voxels, about {needed / 2**30:.1f} GiB",
            "check its header, crop it, or use a larger machine",
        )


def require_stored(promised: int, path: Path) -> None:
    """Refuse a header that promises more data than its file can hold, however well deflated.

    Args:
        promised: bytes of voxels that the header describes.
        path: the file with the voxels, as they are or gzipped.

    Raises:
        InputError: the file is too short.
    """
    with path.open("rb") as stream:
        start = stream.read(2)
    if start in _OTHER_COMPRESSIONS:
        return
    size = path.stat().st_size
    if promised > size * (DEFLATE_AT_BEST if start == _GZIP else 1):
        raise InputError(
            f"a complete file with {promised:,} bytes of voxels",
            f"{path} of {size:,} bytes",
            "get it again",
        )
