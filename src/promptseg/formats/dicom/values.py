"""Stored numbers -> values with a meaning (Hounsfield units, Bq/ml, Gy, gray levels), in one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut

from promptseg.errors import GeometryError
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.pixels import decoded
from promptseg.formats.dicom.planes import Plane, number_of

__all__ = ["of_instances", "of_planes"]

_INT16 = np.iinfo(np.int16)


def of_planes(planes: Sequence[Plane], notes: list[str]) -> NDArray[Any]:
    """Decode slices into one array.

    Returns:
        (z, y, x) or (z, y, x, 3) uint8 RGB; integers where the values allow it, else float32.
    """
    parts = (
        (k, values if (tile := planes[k].tile) is None else values[tile])
        for k, values in _each([plane.instance for plane in planes])
    )
    return _stacked(parts, [plane.instance for plane in planes], notes)


def of_instances(instances: Sequence[Instance], notes: list[str]) -> NDArray[Any]:
    """Decode 2D images or frames of one size into one array (t, y, x[, 3]); see `of_planes`."""
    return _stacked(_each(instances), instances, notes)


def _each(instances: Sequence[Instance]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Position in `instances` and values, file by file and each frame once, in stored order."""
    files: dict[Path, dict[int, list[int]]] = {}
    for k, instance in enumerate(instances):
        frames = files.setdefault(instance.path, {})
        frames.setdefault(instance.frame or 0, []).append(k)
    for wanted in files.values():
        frames = dict(sorted(wanted.items()))
        one = instances[next(iter(frames.values()))[0]]
        for stored, places in zip(decoded(one, list(frames)), frames.values(), strict=True):
            for k in places:
                yield k, _rescaled(stored, instances[k])


def _rescaled(stored: NDArray[Any], instance: Instance) -> NDArray[Any]:
    """Whole numbers stay whole, as int16 where they fit, else as int32."""
    if stored.ndim == 3:
        return stored
    header = instance.header
    if "ModalityLUTSequence" in header:
        return np.asarray(apply_modality_lut(stored, header))
    slope, intercept = _rescale(instance)
    if slope == 1.0 and intercept == 0.0:
        return stored
    if slope == 1.0 and intercept.is_integer() and stored.dtype.itemsize <= 2:
        low, high = int(stored.min()) + intercept, int(stored.max()) + intercept
        if _INT16.min <= low and high <= _INT16.max:  # then int16 is right even if it wraps
            return stored.astype(np.int16, copy=False) + np.array(int(intercept)).astype(np.int16)
        return stored.astype(np.int32) + int(intercept)
    return stored.astype(np.float64) * slope + intercept


def _rescale(instance: Instance) -> tuple[float, float]:
    if instance.header.get("Modality") == "RTDOSE":
        return number_of(instance, "DoseGridScaling") or 1.0, 0.0
    slope = number_of(instance, "RescaleSlope")
    return slope or 1.0, number_of(instance, "RescaleIntercept") or 0.0


def _doubtful_scaling(instances: Sequence[Instance]) -> list[str]:
    """What is taken where a header scales by nothing, or does not say by what."""
    doses = [i for i in instances if i.header.get("Modality") == "RTDOSE"]
    zero = sum(number_of(i, "RescaleSlope") == 0 for i in instances)
    notes = []
    if zero and not doses:
        notes.append(f"RescaleSlope is 0 in {zero} of {len(instances)} slices: taken as 1")
    if any(not number_of(i, "DoseGridScaling") for i in doses):
        notes.append("no DoseGridScaling: stored numbers, not Gy")
    return notes


def _stacked(
    parts: Iterable[tuple[int, NDArray[Any]]], instances: Sequence[Instance], notes: list[str]
) -> NDArray[Any]:
    out: NDArray[Any] | None = None
    notes += _doubtful_scaling(instances)
    for k, values in parts:
        if out is None:
            out = np.empty((len(instances), *values.shape), _kept_dtype(instances, values))
        elif values.shape != out.shape[1:]:
            raise GeometryError(
                "slices of one size, all gray or all in colour",
                f"{values.shape} in {instances[k].path.name}",
            )
        if not _fits(values, out.dtype):
            out = out.astype(np.float32)
        out[k] = values
    assert out is not None
    if instances[0].header.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append("MONOCHROME1: brightness inverted")
        _invert(out)
    return out


def _fits(values: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f" or np.can_cast(values.dtype, dtype):
        return True
    limits = np.iinfo(dtype)
    return bool(values.min() >= limits.min and values.max() <= limits.max)


def _kept_dtype(instances: Sequence[Instance], first: NDArray[Any]) -> np.dtype[Any]:
    """uint8 for colours and bytes, int16 for other whole numbers, else float32."""
    if first.ndim == 3:
        return np.dtype(np.uint8)
    if not all(_is_whole(i) for i in {id(i.header): i for i in instances}.values()):
        return np.dtype(np.float32)
    if first.dtype.kind not in "iu" or first.dtype.itemsize > 4:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if first.dtype == np.uint8 else np.int16)


def _is_whole(instance: Instance) -> bool:
    if "ModalityLUTSequence" in instance.header:
        return True
    header: pydicom.Dataset = instance.header
    if int(header.get("BitsAllocated") or 0) > 16:
        return False
    slope, intercept = _rescale(instance)
    return slope == 1.0 and intercept.is_integer()


def _invert(values: NDArray[Any]) -> None:
    """Darkest becomes brightest and the other way round, in place."""
    low, high = values.min(), values.max()
    values -= low
    np.subtract(high, values, out=values)
