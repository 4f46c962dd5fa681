"""npz files whose arrays are deflated once, however often they are written."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Deflated", "deflated", "write_npz"]

_RAW_DEFLATE = -15


class Deflated(NamedTuple):
    """An array as a member of an npz file: its .npy bytes, deflated.

    Attributes:
        content: what the archive holds.
        size: bytes before.
        crc: their checksum.
    """

    content: bytes
    size: int
    crc: int


def deflated(array: NDArray[Any]) -> Deflated:
    """Pack an array of numbers for a zip archive, ready to be written."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    plain = stream.getvalue()
    packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _RAW_DEFLATE)
    return Deflated(packer.compress(plain) + packer.flush(), len(plain), zlib.crc32(plain))


def write_npz(stream: IO[bytes], arrays: Mapping[str, Deflated]) -> None:
    """Write an npz file, as `numpy.savez_compressed` does, of arrays that are deflated already."""
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.comment = b" "  # says that there is something to write
        zipped.comment = b""
        for name, member in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.file_size, entry.CRC = member.size, member.crc
            entry.compress_size = len(member.content)
            entry.header_offset = stream.tell()
            stream.write(entry.FileHeader())
            stream.write(member.content)
            zipped.filelist.append(entry)
            zipped.NameToInfo[entry.filename] = entry
            zipped.start_dir = stream.tell()
