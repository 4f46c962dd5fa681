"""One file -> its header, parsed once, and the place where its pixels begin."""

from __future__ import annotations

import contextlib
import gzip
import io
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from promptseg.errors import InputError
from promptseg.formats.dicom.instances import Instance

__all__ = ["cut_header", "open_dicom", "parse", "with_pixels"]

_GZIP = b"\x1f\x8b"
_LARGEST_UNZIPPED = 2**31
_LEAST_UNZIPPED, _MOST_ZIPPED = 2**26, 100  # bytes that are never too many; how well images deflate
_BLOCK = 1 << 14  # bytes, which stand for 16 MiB at most
_META_WITHIN = 1 << 12  # bytes
_ASKED_FOR = ("Modality", "SeriesInstanceUID", "SeriesDescription", "SOPClassUID")


def parse(path: Path) -> Instance | None:
    """Read the header of a DICOM file; None if it is none.

    A data set without preamble and file meta information is taken for what it begins like.

    Raises:
        InputError: it begins as a DICOM file and cannot be parsed.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        stream = open_dicom(path)
    except PermissionError as error:  # a slice that would be missing without a word
        raise InputError(
            "a file that can be read", f"{path} ({error.strerror})", "give yourself the right to"
        ) from None
    except (OSError, EOFError, zlib.error):
        return None
    with stream:
        head = stream.read(132)
        stream.seek(0)
        bare = head[128:] != b"DICM"
        if bare and not _begins_like_a_data_set(head):
            return None
        try:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=bare)
            if not _is_deflated(header):
                _check_end(header, stream.tell())
            _check(header)
        except Exception as error:  # pydicom raises anything on damaged files
            if bare:
                return None
            raise cut_header(path) from error
        whole = isinstance(stream, io.BytesIO) or _is_deflated(header)
        position = None if whole else stream.tell()
    if bare and "SOPClassUID" not in header and "Rows" not in header:
        return None
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = _guessed_syntax(header)
    return Instance(path, header, None, position)


def with_pixels(instance: Instance) -> pydicom.FileDataset:
    """Read a whole object with its pixels; its header, which may be long, is kept if possible.

    Raises:
        Exception: anything, where the rest of the file is damaged.
    """
    header, start = instance.header, instance.pixels_at
    if start is None:  # compressed as a whole
        return pydicom.dcmread(instance.path, force=True)
    implicit, little = header.original_encoding
    with open_dicom(instance.path) as stream:
        stream.seek(start)
        header.update(read_dataset(stream, bool(implicit), bool(little)))
    return header


def cut_header(path: Path) -> InputError:
    """Return the error about a DICOM file whose header ends before the pixels."""
    return InputError(
        "complete DICOM files",
        f"{path}: its header is damaged or ends too early",
        "it would be missing from the volume: export the series again",
    )


def open_dicom(path: Path) -> BinaryIO:
    """Open a DICOM file as a stream; a gzipped one is unzipped in memory.

    Raises:
        InputError: it would unzip, or inflate as a deflated data set, to more than such files do.
    """
    stream = path.open("rb")
    size = path.stat().st_size
    most = min(max(_LEAST_UNZIPPED, _MOST_ZIPPED * size), _LARGEST_UNZIPPED)
    if stream.read(2) != _GZIP:
        stream.seek(0)
        try:
            _check_deflated(stream, most, path)
        except InputError:
            stream.close()
            raise
        return stream
    with stream, gzip.open(path) as zipped:
        content = zipped.read(most + 1)
    if len(content) > most:
        raise _too_much(path, most)
    return io.BytesIO(content)


def _check_deflated(stream: BinaryIO, most: int, path: Path) -> None:
    """Inflate a deflated data set to its end without keeping it, as pydicom would in one piece."""
    if str(DeflatedExplicitVRLittleEndian).encode() in stream.read(_META_WITHIN):
        stream.seek(132)
        with contextlib.suppress(Exception):  # a damaged start: its reader says it better
            read_dataset(stream, False, True, stop_when=lambda tag, *_: bool(tag.group != 2))
        inflate, found = zlib.decompressobj(-zlib.MAX_WBITS), 0
        with contextlib.suppress(zlib.error):
            while (block := stream.read(_BLOCK)) and not inflate.eof:
                found += len(inflate.decompress(block))
                if found > most:
                    raise _too_much(path, most)
    stream.seek(0)


def _too_much(path: Path, most: int) -> InputError:
    return InputError(
        f"a compressed DICOM file of at most {most / 2**20:,.0f} MiB unpacked",
        str(path),
        "unpack it first",
    )


def _check(header: pydicom.FileDataset) -> None:
    """Convert what files are sorted by; raises anything where it is damaged."""
    for keyword in _ASKED_FOR:
        header.get(keyword)
    header.file_meta.get("MediaStorageSOPClassUID")
    int(header.get("NumberOfFrames") or 1)
    if "Rows" in header and (int(header.Rows) < 1 or int(header.Columns) < 1):
        raise ValueError("a 2D image without pixels")


def _check_end(header: pydicom.FileDataset, end: int) -> None:
    """Raise EOFError if the last element goes on behind what could be read, which pydicom lets pass."""
    last: Any = header.get_item(max(header.keys())) if len(header) else None
    if isinstance(last, RawDataElement) and last.value_tell + last.length > end:
        raise EOFError(f"{last.tag} ends too early")


def _begins_like_a_data_set(head: bytes) -> bool:
    """Whether the first element is one of group 2 or 8, little endian, with a short value."""
    if len(head) < 12 or head[0] not in (2, 8) or head[1] != 0:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = head[6:8] if explicit else head[4:8]
    return int.from_bytes(length, "little") <= 256


def _is_deflated(header: pydicom.FileDataset) -> bool:
    return bool(header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _guessed_syntax(header: pydicom.FileDataset) -> pydicom.uid.UID:
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
