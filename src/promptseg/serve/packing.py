"""Arrays as nnInteractive's clients pack them (wire format 1 of its remote protocol 2.x).

`NNIA`, version, codec, number of dimensions, length of the dtype's name (a byte each), the name, the
shape in int64, the number of chunks in uint32, and of every chunk its sizes before and after
compression in uint64 and a blosc2 frame; all little-endian.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, MissingPackageError
from promptseg.serve.refusals import TooLargeError

__all__ = ["pack", "unpack"]

_MAGIC, _VERSION, _ZSTD = b"NNIA", 1, 1
_HEAD = struct.Struct("<4sBBBB")
_SIZES = struct.Struct("<QQ")
_MOST_DIMENSIONS = 4
_CHUNK = 1 << 30


def pack(array: NDArray[Any]) -> bytes:
    """Pack an array of numbers into bytes."""
    blosc2 = _blosc2()
    array = np.ascontiguousarray(array)
    name = array.dtype.name.encode("ascii")
    raw = array.reshape(-1).view(np.uint8).data
    parts = [
        _HEAD.pack(_MAGIC, _VERSION, _ZSTD, array.ndim, len(name)),
        name,
        struct.pack(f"<{array.ndim}q", *array.shape),
        struct.pack("<I", -(-len(raw) // _CHUNK)),
    ]
    for start in range(0, len(raw), _CHUNK):
        chunk = raw[start : start + _CHUNK]
        frame = blosc2.compress2(
            chunk,
            typesize=array.dtype.itemsize,
            codec=blosc2.Codec.ZSTD,
            clevel=1,
            filters=[blosc2.Filter.NOFILTER],
        )
        parts += [_SIZES.pack(len(chunk), len(frame)), frame]
    return b"".join(parts)


def unpack(content: bytes, limit: int) -> NDArray[Any]:
    """Unpack an array from bytes; nothing is allocated before all sizes agree with each other.

    Args:
        content: what a client sent.
        limit: bytes the array may have.

    Raises:
        InputError: another form, or sizes that contradict each other.
        TooLargeError: more than the limit.
    """
    blosc2 = _blosc2()
    try:
        magic, version, _, dimensions, length = _HEAD.unpack_from(content)
        if (magic, version) != (_MAGIC, _VERSION) or not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise ValueError("another kind of data")
        at = _HEAD.size + length
        dtype = np.dtype(content[_HEAD.size : at].decode("ascii"))
        if dtype.hasobject or dtype.kind not in "biuf" or dtype.fields is not None or dtype.shape:
            raise ValueError("no plain numbers")
        shape = struct.unpack_from(f"<{dimensions}q", content, at)
        at += 8 * dimensions
        (chunks,) = struct.unpack_from("<I", content, at)
        at += 4
        size = prod(shape) * dtype.itemsize
        if min(shape) < 1:
            raise ValueError("an empty array")
        if size > limit:
            raise TooLargeError(f"an array of at most {limit:,} bytes", f"{size:,}"[:40], "crop it")
        frames = []
        for _ in range(min(chunks, 1 + size // 4096)):
            plain, packed = _SIZES.unpack_from(content, at)
            frame = content[at + _SIZES.size : at + _SIZES.size + packed]
            if len(frame) != packed or packed < 32:
                raise ValueError("a chunk is cut short")
            nbytes, cbytes, _ = blosc2.get_cbuffer_sizes(frame)
            if nbytes != plain or cbytes != packed or plain % dtype.itemsize:
                raise ValueError("sizes of a chunk differ")
            frames.append((plain, frame))
            at += _SIZES.size + packed
        if sum(plain for plain, _ in frames) != size or at != len(content):
            raise ValueError("the sizes of its chunks and its shape differ")
        out = np.empty(size, np.uint8)
        done = 0
        for plain, frame in frames:
            blosc2.decompress2(frame, dst=out[done : done + plain])
            done += plain
    except (ValueError, TypeError, struct.error, RuntimeError, SyntaxError) as error:
        raise InputError(
            "an array as nnInteractive's client packs it", str(error)[:100] or "something else"
        ) from None
    return out.view(dtype).reshape(shape)


def _blosc2() -> Any:
    try:
        import blosc2
    except ImportError:
        raise MissingPackageError("blosc2", "for nnInteractive's clients", "serve") from None
    return blosc2
