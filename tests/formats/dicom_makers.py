"""Makers of DICOM objects other than plain series: 2D images, films, multi-frame objects, mosaics."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from formats.helpers import decimals


def item(**tags: Any) -> Dataset:
    """A data set of these elements."""
    made = Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def sequence(*items: Dataset) -> DicomSequence:
    """A sequence of these items."""
    return DicomSequence(items)


def write_object(
    path: Path, pixels: NDArray[Any], frames: bool = False, sop: str = "", **tags: Any
) -> Path:
    """One object of (y, x), (y, x, 3), or with `frames` (t, y, x[, 3]) pixels.

    Bytes are stored as 8 bits, everything else as 16; no place in space unless `tags` say so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = pixels.shape[1:] if frames else pixels.shape
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop or "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = "1.2.3.6", "1.2.3.4", "OT"
    ds.Rows, ds.Columns = shape[:2]
    ds.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    ds.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        ds.PlanarConfiguration = 0
    if frames:
        ds.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def write_enhanced(
    path: Path,
    stored: NDArray[Any],
    positions: ArrayLike,
    matrix: ArrayLike,
    rescale: Sequence[tuple[float, float]] | None = None,
    content: Sequence[Mapping[str, Any]] | None = None,
    groups: Sequence[Mapping[str, Any]] | None = None,
    shared: bool = True,
    **tags: Any,
) -> Path:
    """An enhanced MR: one frame for each of `stored` (n, y, x) at `positions` (n, 3).

    Args:
        path: file to write.
        stored: pixels.
        positions: LPS position of each frame.
        matrix: (3, 3) steps; orientation and pixel spacing are taken from its first two columns.
        rescale: slope and intercept for each frame.
        content: elements of the frame content sequence for each frame.
        groups: functional groups for each frame, {sequence: {element: value}}.
        shared: spacing and orientation are said once, not for each frame.
        tags: elements of the whole.
    """
    spacing = np.linalg.norm(np.asarray(matrix, float), axis=0)
    direction = np.asarray(matrix, float) / spacing
    measures = item(PixelSpacing=decimals([spacing[1], spacing[0]]))
    orientation = item(ImageOrientationPatient=decimals(direction[:, :2].T.ravel()))
    common = {
        "PixelMeasuresSequence": sequence(measures),
        "PlaneOrientationSequence": sequence(orientation),
    }
    per_frame = []
    for k, position in enumerate(np.asarray(positions, float)):
        place = item(ImagePositionPatient=decimals(position))
        frame = item(PlanePositionSequence=sequence(place), **({} if shared else common))
        if rescale:
            slope, intercept = decimals(rescale[k])
            frame.PixelValueTransformationSequence = sequence(
                item(RescaleSlope=slope, RescaleIntercept=intercept)
            )
        if content:
            frame.FrameContentSequence = sequence(item(**content[k]))
        for name, elements in (groups[k] if groups else {}).items():
            setattr(frame, name, sequence(item(**elements)))
        per_frame.append(frame)
    return write_object(
        path,
        stored,
        frames=True,
        sop=EnhancedMRImageStorage,
        **{
            "Modality": "MR",
            "SharedFunctionalGroupsSequence": sequence(item(**(common if shared else {}))),
            "PerFrameFunctionalGroupsSequence": sequence(*per_frame),
            **tags,
        },
    )


def csa_header(elements: Mapping[str, Sequence[str]]) -> bytes:
    """The private CSA header ("SV10") of Siemens with these values."""
    raw = b"SV10\4\3\2\1" + struct.pack("<II", len(elements), 77)
    for name, values in elements.items():
        raw += name.encode().ljust(64, b"\0") + struct.pack("<i4siii", 1, b"FD\0\0", 4, 6, 77)
        texts = [value.encode() + b"\0" for value in values]
        for text in texts + [b""] * (6 - len(texts)):
            raw += struct.pack("<4i", len(text), len(text), 77, len(text))
            raw += text + bytes(-len(text) % 4)
    return raw


def write_mosaic(
    path: Path,
    stored: NDArray[Any],
    matrix: ArrayLike,
    origin: ArrayLike,
    private: Sequence[str] = ("count", "normal"),
    **tags: Any,
) -> Path:
    """A Siemens mosaic of `stored` (z, y, x) slices on the grid of `matrix` and `origin`."""
    across = int(np.ceil(np.sqrt(len(stored))))
    rows, columns = stored.shape[1:]
    whole = np.zeros((across * rows, across * columns), stored.dtype)
    for k, part in enumerate(stored):
        y, x = divmod(k, across)
        whole[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] = part
    matrix = np.asarray(matrix, float)
    spacing = np.linalg.norm(matrix, axis=0)
    direction = matrix / spacing
    half = np.array([columns, rows]) * (across - 1) / 2
    position = np.asarray(origin) - matrix[:, 0] * half[0] - matrix[:, 1] * half[1]
    write_object(
        path,
        whole,
        **{
            "Modality": "MR",
            "Manufacturer": "SIEMENS",
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
            "ImagePositionPatient": decimals(position),
            "ImageOrientationPatient": decimals(direction[:, :2].T.ravel()),
            "PixelSpacing": decimals([spacing[1], spacing[0]]),
            "SpacingBetweenSlices": decimals([spacing[2]])[0],
            **tags,
        },
    )
    ds = pydicom.dcmread(path)
    values = {
        "count": ("NumberOfImagesInMosaic", [f"{len(stored):8d}"]),
        "normal": ("SliceNormalVector", [f"{v:.8f}" for v in direction[:, 2]]),
    }
    elements = dict(values[name] for name in private if name in values)
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(
        0x10, "OB", csa_header({"EchoLinePosition": ["64"], **elements})
    )
    if "count elsewhere" in private:
        block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", len(stored))
    ds.save_as(path, enforce_file_format=True)
    return path
