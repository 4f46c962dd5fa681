"""Compressed frames decoded by GDCM, which comes with SimpleITK.

SimpleITK rescales, and reads whole files only. So each frame is given to it as a small file of its
own that says nothing but how its pixels are stored.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    SecondaryCaptureImageStorage,
)

from promptseg.formats.quiet import quiet

__all__ = ["SYNTAXES", "frames"]

# Not RLE: pydicom always decodes it, and GDCM crashes on damaged segments.
SYNTAXES = frozenset((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes))

_KEPT = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_ANY_UID = UID("2.25.1")
_ONE_CHANNEL = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}


def frames(data: pydicom.Dataset, wanted: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decode frames of an encapsulated object.

    Args:
        data: the object with its PixelData.
        wanted: frames in ascending order, counted from 0.

    Yields:
        (y, x) as stored or (y, x, 3) RGB.

    Raises:
        RuntimeError: GDCM cannot decode a frame, or there are fewer.
    """
    count = int(data.get("NumberOfFrames") or 1)
    encoded = generate_frames(data.PixelData, number_of_frames=count)
    left = list(wanted)
    with tempfile.TemporaryDirectory() as folder:
        for index, frame in enumerate(itertools.islice(encoded, count)):
            if left and index == left[0]:
                yield _decode(data, frame, Path(folder) / "frame.dcm")
                left.pop(0)
    if left:
        raise RuntimeError(f"no frame {left[0]}")


def _decode(data: pydicom.Dataset, frame: bytes, path: Path) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    _write_frame(data, frame, path)
    with quiet():
        image = sitk.ReadImage(str(path))
    pixels: NDArray[Any] = sitk.GetArrayFromImage(image)[0]
    if pixels.shape[:2] != (data.Rows, data.Columns):
        raise RuntimeError(f"a frame of {pixels.shape[:2]} pixels")
    bits, signed = int(data.BitsAllocated), bool(data.get("PixelRepresentation"))
    return np.asarray(pixels.astype(f"{'i' if signed else 'u'}{max(bits // 8, 1)}"))


def _write_frame(data: pydicom.Dataset, frame: bytes, path: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = _ANY_UID
    single = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    single.SOPClassUID, single.SOPInstanceUID = SecondaryCaptureImageStorage, _ANY_UID
    for keyword in _KEPT:
        if keyword in data:
            setattr(single, keyword, data[keyword].value)
    if single.PhotometricInterpretation in _ONE_CHANNEL:
        single.PhotometricInterpretation = "MONOCHROME2"
    single.PixelData = encapsulate([frame])
    single["PixelData"].VR = "OB"
    single.save_as(path, enforce_file_format=True)
