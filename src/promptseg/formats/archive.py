"""npz files that are not trusted: what an array needs is known and compared before it is unpacked.

A few bytes of a ZIP archive may stand for gigabytes, and the header of an array may promise any size.
Here nothing is unpacked before the archive's directory, the array's own header and the bytes in the
file agree with each other and with what the caller is ready to take. Pickled objects are never loaded.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, UnusableError
from promptseg.formats.files import require_file
from promptseg.formats.memory import DEFLATE_AT_BEST, require_memory

__all__ = ["FEW_BYTES", "Archive", "array_header", "damaged", "open_archive"]

FEW_BYTES = 1 << 16
"""More than enough for an array of a few numbers, such as a spacing."""

_ENDING = ".npy"
_SLACK = 1 << 10  # bytes: so short a member may be anything


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    length: int


class Archive:
    """The arrays of an open npz file.

    Args:
        path: the file, for messages.
        zipped: the file, open.
        what: what it should be, for messages.

    Attributes:
        names: of the arrays.
    """

    def __init__(self, path: Path, zipped: zipfile.ZipFile, what: str = "npz file") -> None:
        self.path, self.what = path, what
        self._zipped = zipped
        self._members = {
            member.filename.removesuffix(_ENDING): member
            for member in zipped.infolist()
            if member.filename.endswith(_ENDING)
        }
        self.names = list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, from its header."""
        return self._header(name).shape

    def take(self, name: str, most: int | None = None) -> NDArray[Any]:
        """Unpack one array.

        Args:
            name: one of `names`.
            most: bytes that it may have; None for as many as fit into memory.

        Raises:
            InputError: no such array, damaged, pickled, or larger than it may be.
        """
        header, member = self._header(name), self._member(name)
        if header.dtype.hasobject:
            raise InputError(
                f"a complete {self.what} of plain arrays",
                f"{self.path}: {name} holds pickled objects",
                "they are never loaded, because they may run code: save plain arrays",
            )
        size = prod(header.shape) * header.dtype.itemsize
        if most is not None and size > most:
            raise InputError(
                f"at most {most:,} bytes for {name}",
                f"{self.path}: {size:,} bytes, shape {header.shape}",
                "get it again",
            )
        if size + header.length != member.file_size:
            raise damaged(
                self.path, self.what, f"{name} promises {size:,} bytes and has {member.file_size:,}"
            )
        if size > member.compress_size * DEFLATE_AT_BEST + _SLACK:
            raise damaged(
                self.path,
                self.what,
                f"{member.compress_size:,} bytes cannot hold {size:,} of {name}",
            )
        require_memory(header.shape, header.dtype.itemsize, self.path)
        with _as_ours(self.path, self.what), self._zipped.open(member) as stream:
            found: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return found

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            there = ", ".join(self.names) or "nothing"
            raise InputError(
                f"a complete {self.what} with the key {name}",
                f"{self.path} with {there}",
                "get it again",
            ) from None

    def _header(self, name: str) -> _Header:
        member = self._member(name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise damaged(self.path, self.what, f"{name} is packed in a way that npz files are not")
        with _as_ours(self.path, self.what), self._zipped.open(member) as stream:
            shape, _, dtype = array_header(stream)
            return _Header(tuple(int(n) for n in shape), dtype, stream.tell())


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read what a .npy file says before its values: shape, whether in Fortran's order, and dtype.

    Args:
        stream: at its beginning; left where the values begin.

    Raises:
        ValueError and others: no such header.
    """
    first = np.lib.format.read_magic(stream) == (1, 0)
    npy = np.lib.format
    read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


@contextmanager
def open_archive(path: Path, what: str = "npz file") -> Iterator[Archive]:
    """Open an npz file for reading; a damaged one is an `InputError`, also where that shows later.

    Args:
        path: the file.
        what: what it should be, for messages.

    Raises:
        InputError: missing, no ZIP archive, or damaged.
    """
    require_file(path, f"a complete {what}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"a complete {what}", f"{path}: not a zip archive", "get it again")
    with _as_ours(path, what):
        zipped = zipfile.ZipFile(path)
    with zipped:
        yield Archive(path, zipped, what)


@contextmanager
def _as_ours(path: Path, what: str) -> Iterator[None]:
    """What zipfile, zlib and numpy raise on damaged files, as our error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # there is nothing they do not raise
        raise damaged(path, what, str(error) or type(error).__name__) from error


def damaged(path: Path, what: str, reason: str) -> UnusableError:
    """Return the error about a damaged file.

    Args:
        path: the file.
        what: what it should be.
        reason: what is wrong with it; its first line is shown.
    """
    first = (reason.splitlines() or [""])[0][:200]
    return UnusableError(f"a complete {what}", f"{path} ({first})", "it is damaged: get it again")
