"""A DICOM series: a folder (or one file) of single-frame slices; or one radiograph, a picture.

Slices are placed by ImagePositionPatient and ImageOrientationPatient alone, never by file name or
InstanceNumber. The step from slice to slice is the true one, so a gantry tilt ends up in the matrix.
Pixels are decoded by pydicom where it can, by GDCM (SimpleITK) otherwise.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from promptseg.errors import GeometryError, InputError
from promptseg.formats.dicom.instances import DicomSource, Instance
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.geometry import Geometry
from promptseg.image import Image, Source

__all__ = ["read"]

_MODALITY = {
    "CT": "CT",
    "MR": "MR",
    "PT": "PET",
    "US": "US",
    "IVUS": "US",
    "CR": "XR",
    "DX": "XR",
    "RG": "XR",
    "RF": "XR",
    "XA": "XR",
    "MG": "MG",
    "OPT": "OCT",
    "IVOCT": "OCT",
    "OP": "fundus",
    "ES": "endoscopy",
    "SM": "pathology",
    "GM": "microscopy",
}
_NOT_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "DOC"}
_UNEVEN = 0.05  # of the slice distance


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read the one series of slices in a folder, or a single slice.

    Args:
        path: folder, searched with its subfolders, or file.
        options: `series` chooses where there are several.

    Raises:
        InputError: no series, several without a choice, or frames this version cannot read.
        GeometryError: slices missing, doubled, unevenly spaced or of different grids.
    """
    notes: list[str] = []
    series = options.series if options else None
    slices = _choose_series(_scan(path, notes), path, series, notes)
    first = slices[0].header
    if int(first.get("NumberOfFrames") or 1) > 1:
        raise InputError(
            "single-frame DICOM slices",
            f"a multi-frame object of {first.NumberOfFrames} frames in {path}",
            "convert it to a series of slices or NIfTI first",
        )
    require_memory((len(slices), first.Rows, first.Columns), 4, path)
    modality = _MODALITY.get(str(first.get("Modality", "")), "unknown")
    source = Source(path, "dicom", DicomSource(tuple(slices)), notes=notes)
    if len(slices) == 1 and "ImagePositionPatient" not in first:
        picture = _stack(slices, notes)[0]
        return Image(picture, _picture_grid(first), modality, source)
    slices = _sorted_by_position(slices)
    source.header = DicomSource(tuple(slices))
    matrix, origin = _grid(slices, notes)
    voxels = _stack(slices, notes)
    return Image(voxels, Geometry(voxels.shape[:3], matrix, origin), modality, source)


def _picture_grid(header: pydicom.Dataset) -> Geometry:
    """Grid of a radiograph or photograph: no place in the patient, a pixel size at best."""
    shape = (int(header.Rows), int(header.Columns))
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if not spacing:
        return Geometry.pixels(shape)
    between_rows, between_columns = (float(v) for v in spacing)
    return Geometry.from_spacing(shape, (between_columns, between_rows, 1.0))


def _scan(path: Path, notes: list[str]) -> dict[str, list[Instance]]:
    """Image objects by SeriesInstanceUID; files that are not DICOM images are noted."""
    if path.is_dir():
        files = sorted(Path(d) / f for d, _, names in os.walk(path) for f in names)
    else:
        files = [path]
    found: dict[str, list[Instance]] = defaultdict(list)
    foreign = []
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, OSError, EOFError):
            foreign.append(file.name)
            continue
        if "Rows" in header and header.get("Modality") not in _NOT_IMAGES:
            found[str(header.get("SeriesInstanceUID", ""))].append(Instance(file, header))
        elif _is_cut(header):
            raise InputError(
                "complete DICOM files",
                f"{file}: its header ends too early",
                "it would be missing from the volume: export the series again",
            )
        else:
            foreign.append(file.name)
    if not found:
        raise InputError(
            "a folder with a DICOM series" if path.is_dir() else "a DICOM image",
            f"{path}: {len(files)} files, none of them a DICOM image",
            "name the folder that holds the slices",
        )
    if foreign:
        some = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        notes.append(f"{len(foreign)} files that are not DICOM images were ignored: {some}")
    return found


def _is_cut(header: pydicom.Dataset) -> bool:
    """Whether a DICOM file without an image's size says it is an image, or does not say at all."""
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    return kind is None or UID(kind).name.endswith("Image Storage")


def _choose_series(
    found: dict[str, list[Instance]], path: Path, wanted: str | None, notes: list[str]
) -> list[Instance]:
    fitting = {uid: s for uid, s in found.items() if wanted is None or uid.endswith(wanted)}
    if len(fitting) == 1:
        uid, slices = next(iter(fitting.items()))
        if len(found) > 1:
            notes.append(f"series {uid} chosen out of {len(found)}")
        return slices
    lines = [
        f"  {uid}: {s[0].header.get('Modality', '?')}, {len(s)} slices, "
        f"{s[0].header.get('SeriesDescription', 'no description')}"
        for uid, s in found.items()
    ]
    raise InputError(
        "one DICOM series" if wanted is None else f"one series ending in {wanted}",
        f"{len(fitting) or 'none'} of {len(found)} in {path}:\n" + "\n".join(lines),
        "choose one with --series UID",
    )


def _sorted_by_position(slices: list[Instance]) -> list[Instance]:
    """Slices of one grid along their normal."""
    first = slices[0]
    for s in slices:
        if "ImagePositionPatient" not in s.header or "ImageOrientationPatient" not in s.header:
            raise GeometryError(
                "slices with ImagePositionPatient and ImageOrientationPatient",
                f"{s.path.name} without",
                "save it as a picture, or export the series again",
            )
        for tag in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
            a, b = s.header.get(tag), first.header.get(tag)
            same = a == b if a is None or b is None else np.allclose(a, b, atol=1e-4)
            if not same:
                raise GeometryError(
                    f"slices with the same {tag}",
                    f"{b} in {first.path.name} and {a} in {s.path.name}",
                    "keep the localiser or the other stack in a folder of its own",
                )
    normal = _normal(first.header)
    return sorted(slices, key=lambda s: float(_position(s) @ normal))


def _position(slice_: Instance) -> NDArray[np.float64]:
    return np.asarray(slice_.header.ImagePositionPatient, dtype=np.float64)


def _normal(header: pydicom.Dataset) -> NDArray[np.float64]:
    row, column = np.reshape(np.asarray(header.ImageOrientationPatient, np.float64), (2, 3))
    normal = np.cross(row, column)
    length = np.linalg.norm(normal)
    if length < 1e-6:
        raise GeometryError("two directions in ImageOrientationPatient", "parallel ones")
    return np.asarray(normal / length)


def _grid(
    slices: list[Instance], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    header = slices[0].header
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if spacing is None:
        notes.append("no PixelSpacing: pixels taken as 1 mm")
        spacing = (1.0, 1.0)
    between_rows, between_columns = (float(v) for v in spacing)
    row, column = np.reshape(np.asarray(header.ImageOrientationPatient, np.float64), (2, 3))
    positions = np.array([_position(s) for s in slices])
    if len(slices) == 1:
        thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0
        step = _normal(header) * abs(float(thickness))
    else:
        step = _even_step(positions, _normal(header), slices, notes)
    return np.stack([row * between_columns, column * between_rows, step], axis=1), positions[0]


def _even_step(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    slices: list[Instance],
    notes: list[str],
) -> NDArray[np.float64]:
    """Mean step between neighbours, after checking that none is missing or doubled."""
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3 or gaps.min() < 0.1 * usual:
        k = int(gaps.argmin())
        raise GeometryError(
            "one slice per position",
            f"{slices[k].path.name} and {slices[k + 1].path.name} at the same one",
            "keep one time point or echo per folder",
        )
    if (gaps > (1.5 * usual)).any():
        k = int(gaps.argmax())
        raise GeometryError(
            f"evenly spaced slices ({usual:.4g} mm)",
            f"a gap of {gaps[k]:.4g} mm between {slices[k].path.name} and {slices[k + 1].path.name}",
            "slices are missing: export the series again",
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    straight = positions[0] + np.arange(len(positions))[:, None] * step
    off = float(np.linalg.norm(positions - straight, axis=1).max())
    if off > _UNEVEN * usual:
        raise GeometryError(
            "evenly spaced slices",
            f"slices up to {off:.3g} mm away from even steps of {usual:.4g} mm",
            "resample the series to even spacing first",
        )
    if off > 1e-2:
        notes.append(f"slice positions deviate from even steps by up to {off:.3g} mm")
    return np.asarray(step)


def _stack(slices: list[Instance], notes: list[str]) -> NDArray[Any]:
    """Decode every slice once, straight into one array; int16 where the values allow it."""
    whole = all(
        float(s.header.get("RescaleSlope", 1)) == 1.0
        and float(s.header.get("RescaleIntercept", 0)).is_integer()
        for s in slices
    )
    out: NDArray[Any] | None = None
    for k, s in enumerate(slices):
        values = _decode(s.path)
        if out is None:
            dtype = np.dtype(np.int16 if whole and s.header.BitsAllocated <= 16 else np.float32)
            out = np.empty((len(slices), *values.shape), np.uint8 if values.ndim == 3 else dtype)
        elif values.shape != out.shape[1:]:
            raise GeometryError("slices of one size", f"{values.shape} in {s.path.name}")
        if (
            np.issubdtype(out.dtype, np.integer)
            and values.size
            and (values.min() < np.iinfo(out.dtype).min or values.max() > np.iinfo(out.dtype).max)
        ):
            out = out.astype(np.float32)
        out[k] = values
    assert out is not None
    if slices[0].header.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append("MONOCHROME1: brightness inverted")
        out = (out.max().astype(np.float64) + out.min() - out).astype(out.dtype)
    return out


def _decode(path: Path) -> NDArray[Any]:
    """(y, x) rescaled values or (y, x, 3) RGB of one file."""
    header = pydicom.dcmread(path)
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise InputError("grayscale or RGB pixels", f"palette colours in {path}", "convert to PNG")
    try:
        stored = pixel_array(header)
    except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
        if header.file_meta.TransferSyntaxUID.is_compressed:
            return _decode_with_gdcm(path, error)
        raise _undecodable(path, error) from error
    if stored.ndim == 3:
        return np.asarray(stored)
    slope = float(header.get("RescaleSlope", 1))
    intercept = float(header.get("RescaleIntercept", 0))
    if slope == 1.0 and intercept.is_integer():
        return np.asarray(stored.astype(np.int32) + int(intercept))
    return np.asarray(stored.astype(np.float64) * slope + intercept)


def _decode_with_gdcm(path: Path, first_error: Exception) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    try:
        decoded: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        return np.asarray(decoded[0])
    except RuntimeError:
        raise _undecodable(path, first_error) from first_error


def _undecodable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:200]
    return InputError(
        "DICOM pixel data that can be decoded", f"{path} ({reason})", "export it again"
    )
