"""An estimate before allocation, so that a header cannot ask for more memory than there is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from pathlib import Path

from promptseg.errors import InputError

__all__ = [
    "DEFLATE_AT_BEST",
    "FEWER_FRAMES",
    "AskedOnly",
    "asking_only",
    "available_bytes",
    "require_memory",
    "require_stored",
]

_CGROUP = Path("/sys/fs/cgroup")  # of a container or a job of a scheduler, seen from inside
_asking: ContextVar[bool] = ContextVar("asking only", default=False)

DEFLATE_AT_BEST = 1032
FEWER_FRAMES = "take fewer frames with --frames, or use a larger machine"
_GZIP, _OTHER_COMPRESSIONS = b"\x1f\x8b", (b"BZ", b"\x28\xb5", b"\x1f\x9d")


class AskedOnly(BaseException):
    """Signal that ends a reader which was only asked how much it would allocate; see `asking_only`.

    Attributes:
        shape: of the voxels.
        itemsize: bytes of each.
    """

    def __init__(self, shape: Sequence[int], itemsize: int) -> None:
        super().__init__()
        self.shape, self.itemsize = tuple(int(n) for n in shape), itemsize


@contextmanager
def asking_only() -> Iterator[None]:
    """Make readers stop with `AskedOnly` after the header, where they would allocate voxels."""
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


def available_bytes() -> int | None:
    """Return the bytes of memory that can be used without swapping; None if the system does not say.

    Where a container or a scheduler allows less than the machine has, what is left of that.
    """
    known = [free for free in (_machine_bytes(), _allowed_bytes(_CGROUP)) if free is not None]
    return min(known, default=None)


def _machine_bytes() -> int | None:
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


def _allowed_bytes(folder: Path) -> int | None:
    """What the group of processes may still take; its cached files can be given up.

    Two layouts: of version 2, and of version 1, whose unlimited is a number beyond any machine.
    """
    for limit, used, cached, where in (
        ("memory.max", "memory.current", "inactive_file", folder),
        (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
            folder / "memory",
        ),
    ):
        try:
            most = int((where / limit).read_text())
            taken = int((where / used).read_text())
            stat = dict(line.split() for line in (where / "memory.stat").read_text().splitlines())
            return max(0, most - taken + int(stat.get(cached, 0)))
        except (OSError, ValueError):  # "max": no limit
            continue
    return None


def require_memory(
    shape: Sequence[int],
    bytes_per_voxel: int,
    path: Path,
    remedy: str = "check its header, crop it, or use a larger machine",
) -> None:
    """Refuse an image that does not fit into memory.

    Args:
        shape: size of the image.
        bytes_per_voxel: of the stored type; as much again is reckoned for work on it.
        path: for the message.
        remedy: what the message advises.

    Raises:
        InputError: it would not fit.
        AskedOnly: nothing but these numbers is wanted.
    """
    if _asking.get():
        raise AskedOnly(shape, bytes_per_voxel)
    needed, available = 2 * prod(int(n) for n in shape) * bytes_per_voxel, available_bytes()
    if available is not None and needed > available:
        raise InputError(
            f"an image that fits into the {available / 2**30:.1f} GiB of free memory",
            f"{path}: {' x '.join(map(str, shape))} voxels, about {needed / 2**30:.1f} GiB",
            remedy,
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
