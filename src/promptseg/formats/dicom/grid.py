"""Slices in space -> one grid; missing, doubled and uneven slices are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom.planes import Plane, number_of, turned
from promptseg.formats.lattice import WORTH_A_NOTE, allowed
from promptseg.geometry import Geometry

__all__ = ["of_planes"]


def of_planes(planes: Sequence[Plane], notes: list[str]) -> Geometry:
    """Build the grid of slices that lie in order along their normal.

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
    origin, step = _steps(planes, notes)
    matrix = np.stack([first.row * between_columns, first.column * between_rows, step], axis=1)
    if (beside := max(turned(plane, first) for plane in planes)) > WORTH_A_NOTE:
        notes.append(
            f"orientations of the slices differ: pixels lie up to {beside:.2g} of a pixel beside"
        )
    return Geometry((len(planes), *first.shape), matrix, origin)


def _steps(
    planes: Sequence[Plane], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the first slice lies, and the step from slice to slice."""
    first = planes[0]
    if len(planes) > 1:
        return _even_steps(planes, notes)
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if thickness := number_of(first.instance, keyword):
            return first.position, first.normal * abs(thickness)
    notes.append("no SliceThickness: the slice taken as 1 mm thick")
    return first.position, first.normal


def _even_steps(
    planes: Sequence[Plane], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `_steps`, after checking that no slice is missing, doubled or beside its place.

    The step is that from the first to the last slice; where slices lie beside it, the straight line
    that fits all of them best.
    """
    positions = np.array([plane.position for plane in planes])
    gaps = np.diff(positions @ planes[0].normal)
    usual = float(np.median(gaps))
    if gaps.min() <= 0.1 * usual:
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
    number = np.arange(len(positions))[:, None]
    origin, step = positions[0], (positions[-1] - positions[0]) / (len(positions) - 1)
    if _beside(positions, origin, step, planes[0]).max() > WORTH_A_NOTE:
        middle = number - number.mean()
        step = (middle * positions).sum(axis=0) / (middle**2).sum()
        origin = positions.mean(axis=0) - number.mean() * step
    off = _beside(positions, origin, step, planes[0])
    sizes = (*(planes[0].spacing or (1.0, 1.0))[::-1], usual)  # along columns, rows, slices
    if (off > allowed(sizes)).any():
        k = int(off.argmax())
        raise GeometryError(
            "evenly spaced slices",
            f"slices up to {off.max():.2g} of a voxel ({off[k] * sizes[k]:.3g} mm) away from even "
            f"steps of {usual:.4g} mm",
            "resample the series to even spacing first",
        )
    if off.max() > WORTH_A_NOTE:
        notes.append(f"slice positions deviate from even steps by up to {off.max():.2g} of a voxel")
    return np.asarray(origin), np.asarray(step)


def _beside(
    positions: NDArray[np.float64],
    origin: NDArray[np.float64],
    step: NDArray[np.float64],
    plane: Plane,
) -> NDArray[np.float64]:
    """(3,) how far slices lie at most beside even steps, in voxels along columns, rows and slices."""
    between_rows, between_columns = plane.spacing or (1.0, 1.0)
    matrix = np.stack([plane.row * between_columns, plane.column * between_rows, step], axis=1)
    apart = positions - origin - np.arange(len(positions))[:, None] * step
    return np.asarray(np.abs(np.linalg.solve(matrix, apart.T)).max(axis=1))
