"""Stored pixels of DICOM objects, frame by frame, whatever their transfer syntax.

pydicom decodes what it can with the packages at hand, GDCM (in SimpleITK) the rest. Neither applies
a rescale or inverts anything here: both give the numbers as stored, or RGB.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGTransferSyntaxes

from promptseg.errors import InputError
from promptseg.formats.dicom import gdcm
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.parse import open_dicom
from promptseg.formats.quiet import quiet

__all__ = ["decoded", "decoded_some"]

# A decoder that fails is followed by another one: no word of it to people without logging.
logging.getLogger("pydicom").addHandler(logging.NullHandler())

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_INTERLEAVED = (*JPEGTransferSyntaxes, *JPEG2000TransferSyntaxes)
_FILM = ("MPEG", "HEVC")


def decoded(instance: Instance, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decode frames of one object, one at a time.

    Args:
        instance: any slice of the object.
        frames: which ones, counted from 0, in ascending order.

    Yields:
        (y, x) as stored, or (y, x, 3) uint8 RGB for any kind of colour; palettes of grays give (y, x).

    Raises:
        InputError: pixels absent, cut, encrypted, or in a transfer syntax that cannot be decoded.
    """
    data = _with_pixels(instance)
    for stored in _stored(data, frames, instance.path):
        yield _gray_or_rgb(stored, data)


def decoded_some(instance: Instance, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decode some frames, as `decoded` does; of very many frames, the others are not read if possible.

    A file that pydicom does not take apart in this way is read as a whole.
    """
    header, done = instance.header, 0
    seekable = instance.pixels_at is not None and int(header.get("PlanarConfiguration") or 0) == 0
    if seekable and len(frames) < instance.frame_count:
        with contextlib.suppress(Exception), quiet():  # whatever it is, it is met again below
            for stored in iter_pixels(instance.path, indices=list(frames)):
                yield _gray_or_rgb(stored, header)
                done += 1
    if done < len(frames):
        yield from decoded(instance, frames[done:])


def _stored(data: pydicom.Dataset, frames: Sequence[int], path: Path) -> Iterator[NDArray[Any]]:
    """By pydicom, from the first frame that it fails at by GDCM."""
    syntax: UID = data.file_meta.TransferSyntaxUID
    if syntax in _INTERLEAVED and "PlanarConfiguration" in data:
        data.PlanarConfiguration = 0  # what the header says of it has no meaning there
    every = len(frames) == int(data.get("NumberOfFrames") or 1)
    done = 0
    try:
        stream = iter_pixels(data, indices=None if every else list(frames))
        while done < len(frames):
            with quiet():
                stored = next(stream, None)
            if stored is None:
                break
            yield stored
            done += 1
        if done < len(frames):
            raise ValueError(f"{len(frames)} frames announced, {done} found")
    except Exception as error:  # decoders raise anything on broken pixels
        if isinstance(error, NotImplementedError) or syntax not in gdcm.SYNTAXES:
            raise _undecodable(path, syntax, error) from error
        try:
            yield from gdcm.frames(data, frames[done:])
        except Exception:
            raise _undecodable(path, syntax, error) from error


def _with_pixels(instance: Instance) -> pydicom.Dataset:
    """The header with the pixels of its file, read from where they begin."""
    with open_dicom(instance.path) as stream:
        if instance.pixels_at is None:
            return pydicom.dcmread(stream, force=True)
        stream.seek(instance.pixels_at)
        implicit, little = instance.header.original_encoding
        rest = read_dataset(stream, bool(implicit), bool(little), stop_when=_after_pixels)
    data = instance.header[0x00280000:0x7FE00008]  # what describes pixels; a data set of its own
    data.file_meta = instance.header.file_meta
    data.update({element.tag: element for element in rest if element.keyword in _PIXELS})
    if not any(keyword in data for keyword in _PIXELS):
        encrypted = "EncryptedAttributesSequence" in instance.header
        raise InputError(
            "an image with pixels",
            f"{instance.path}: {'its pixels are encrypted' if encrypted else 'it has none'}",
            "decrypt it first" if encrypted else "export it again",
        )
    return data


def _after_pixels(tag: Any, _vr: str | None, _length: int) -> bool:
    return bool(tag.group > 0x7FE0)


def _gray_or_rgb(stored: NDArray[Any], data: pydicom.Dataset) -> NDArray[Any]:
    if data.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _looked_up(stored, data)
    if stored.ndim == 2:
        return stored
    if stored.dtype.itemsize > 1:
        stored = stored >> max(int(data.BitsStored) - 8, 0)
    return np.asarray(stored[..., :3].astype(np.uint8))


def _looked_up(stored: NDArray[Any], data: pydicom.Dataset) -> NDArray[Any]:
    """Colours of a palette, 8 bits each; gray values where red, green and blue are the same."""
    tables = [
        np.frombuffer(bytes(data.get(f"{name}PaletteColorLookupTableData") or b""), np.uint8)
        for name in ("Red", "Green", "Blue")
    ]
    colours = apply_color_lut(stored, data)
    in_low_bytes = len(tables[0]) and not any(table[1::2].any() for table in tables)
    if colours.dtype == np.uint16 and not in_low_bytes:
        colours >>= 8
    if len(tables[0]) and all(np.array_equal(table, tables[0]) for table in tables):
        return np.asarray(colours[..., 0].astype(np.uint8))
    return np.asarray(colours[..., :3].astype(np.uint8))


def _undecodable(path: Path, syntax: UID, error: Exception) -> InputError:
    if syntax.name.startswith(_FILM):
        return InputError(
            "DICOM pixels that are 2D images",
            f"{path}: a film of transfer syntax {syntax.name}",
            "turn it into images first, for example with ffmpeg",
        )
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        name = str(syntax) if syntax.name == syntax else f"{syntax.name} ({syntax})"
        return InputError(
            "DICOM pixels in a standard transfer syntax",
            f"{path}: {name}, private or unknown",
            "convert it to Explicit VR Little Endian with the software it comes from, or with "
            "gdcmconv --raw",
        )
    missing = "" if decoder.is_available else "; ".join(decoder.missing_dependencies)
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(
        "complete DICOM pixel data",
        f"{path} ({syntax.name}: {reason})",
        f"it may be cut, or lack a decoder: {missing}" if missing else "export it again",
    )
