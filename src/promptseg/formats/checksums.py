"""Checks that the voxels of compressed MetaImage and NRRD files are those that were written.

ITK stops once it has as many bytes as the header promises: the checksum that follows is never
compared, and a damaged file gives wrong voxels without a word.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError

__all__ = ["Packed", "require_intact"]

_BLOCK = 1 << 14  # bytes, which stand for 16 MiB at most
_ZLIB_OR_GZIP = 47  # window bits; the two are told apart by their first bytes
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Packed:
    """The place of a file's voxels, one compressed stream, and their type.

    Attributes:
        path: the file with the stream.
        start: where in it the stream begins.
        length: of the stream; None if it goes on to the end of the file.
        dtype: of one value, byte order included.
    """

    path: Path
    start: int
    length: int | None
    dtype: np.dtype[Any]


def require_intact(voxels: NDArray[Any], packed: Packed) -> None:
    """Compare voxels with the checksum at the end of the stream that they were read from.

    Args:
        voxels: as read, in the order of the file.
        packed: the stream.

    Raises:
        InputError: the stream is damaged or cut, or holds something else.
    """
    if voxels.dtype.newbyteorder("=") != packed.dtype.newbyteorder("="):
        return  # turned into another type on the way: nothing to compare
    as_stored = np.ascontiguousarray(voxels.astype(packed.dtype, copy=False))
    content = as_stored.reshape(-1).view(np.uint8).data
    gzipped, told = _ending(packed)
    if told != (zlib.crc32(content) if gzipped else zlib.adler32(content)):
        _compare(packed, content)


def _ending(packed: Packed) -> tuple[bool, int | None]:
    """Whether the stream is gzip, and the checksum at its end; None if it is too short for one."""
    with packed.path.open("rb") as stream:
        stream.seek(packed.start)
        gzipped = stream.read(2) == _GZIP
        length = packed.length
        if length is None:
            length = packed.path.stat().st_size - packed.start
        if length < 8:
            return gzipped, None
        stream.seek(packed.start + length - (8 if gzipped else 4))
        return gzipped, int.from_bytes(stream.read(4), "little" if gzipped else "big")


def _compare(packed: Packed, content: memoryview) -> None:
    """Go through the whole stream, which may have more behind it, and compare what is in it."""
    found, checksum, promised = 0, zlib.adler32(b""), len(content)
    unpack = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        with packed.path.open("rb") as stream:
            stream.seek(packed.start)
            for block in _blocks(stream, packed.length):
                piece = unpack.decompress(block)
                found, checksum = found + len(piece), zlib.adler32(piece, checksum)
                if unpack.eof:
                    break
        if found < promised or not unpack.eof:
            raise ValueError(f"its voxels end after {found:,} of {promised:,} bytes")
        if found > promised:
            raise ValueError(f"{found:,} bytes of voxels instead of {promised:,}")
        if checksum != zlib.adler32(content):
            raise ValueError("ITK finds others than are there, as the file goes on behind them")
    except (ValueError, zlib.error) as error:
        raise InputError(
            "a file with intact voxels", f"{packed.path} ({error})", "it is damaged: get it again"
        ) from None


def _blocks(stream: IO[bytes], length: int | None) -> Iterator[bytes]:
    left = length
    while block := stream.read(_BLOCK if left is None else min(_BLOCK, left)):
        yield block
        if left is not None:
            left -= len(block)
