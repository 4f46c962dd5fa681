"""Slices in space -> one grid; missing, doubled and uneven slices are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom.planes import Plane, number_of
from promptseg.geometry import Geometry

__all__ = ["of_planes"]

_UNEVEN = 0.05  # of the slice distance


def of_planes(planes: Sequence[Plane], notes: list[str]) -> Geometry:
    """The grid of slices that lie in order along their normal.

    The step from slice to slice is the true one, so a gantry tilt ends up in the matrix.

    Args:
        planes: slices of one size, spacing and orientation.
        notes: what had to be assumed is added.

    Raises:
        GeometryError: slices missing, doubled or unevenly spaced.
    """
    first = planes[0]
    if first.spacing is None:
        notes.append("no PixelSpacing: pixels taken as 1 mm")
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    step = _step(planes, notes)
    matrix = np.stack([first.row * between_columns, first.column * between_rows, step], axis=1)
    return Geometry((len(planes), *first.shape), matrix, first.position)


def _step(planes: Sequence[Plane], notes: list[str]) -> NDArray[np.float64]:
    first = planes[0]
    if len(planes) > 1:
        return _even_step(planes, notes)
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if thickness := number_of(first.instance, keyword):
            return first.normal * abs(thickness)
    notes.append("no SliceThickness: the slice taken as 1 mm thick")
    return first.normal


def _even_step(planes: Sequence[Plane], notes: list[str]) -> NDArray[np.float64]:
    """Mean step between neighbours, after checking that none is missing or doubled."""
    positions = np.array([plane.position for plane in planes])
    gaps = np.diff(positions @ planes[0].normal)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3 or gaps.min() < 0.1 * usual:
        k = int(gaps.argmin())
        raise GeometryError(
            "one slice per position",
            f"{planes[k].name} and {planes[k + 1].name} at the same one",
            "keep one time point or echo per folder",
        )
    if (gaps > (1.5 * usual)).any():
        k = int(gaps.argmax())
        raise GeometryError(
            f"evenly spaced slices ({usual:.4g} mm)",
            f"a gap of {gaps[k]:.4g} mm between {planes[k].name} and {planes[k + 1].name}",
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
