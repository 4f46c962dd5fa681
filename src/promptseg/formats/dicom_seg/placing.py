"""Frames of a SEG -> slices of a grid: the one they span themselves, or that of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom.derived import frame_of_reference, slice_positions
from promptseg.formats.dicom.planes import Plane, number_of, places_along, turned
from promptseg.formats.lattice import WORTH_A_NOTE, allowed
from promptseg.geometry import Geometry
from promptseg.image import Image

__all__ = ["on_image", "on_own_grid"]

_SAME_PLANE = 1e-2  # mm


def on_own_grid(planes: Sequence[Plane], name: str) -> tuple[Geometry, list[int]]:
    """Return the grid that frames span, with empty slices between them, and the slice of each frame.

    Args:
        planes: the frames, in any order; several may lie on one slice.
        name: of the file, for messages.

    Raises:
        GeometryError: frames of different orientation, or not on evenly spaced slices.
    """
    first = planes[0]
    for plane in planes:
        if turned(plane, first) > allowed(min(first.spacing or (1.0, 1.0))):
            raise _uneven(name, "frames of one orientation", "several")
    positions = np.array([plane.position for plane in planes])
    along = positions @ first.normal
    lowest, highest = positions[along.argmin()], positions[along.argmax()]
    order = np.argsort(along, kind="stable")
    place = places_along(along[order], first)
    levels = np.bincount(place, along[order]) / np.bincount(place)
    count = _steps(levels, first) if len(levels) > 1 else 0
    step = (highest - lowest) / count if count else first.normal * _thickness(first)
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    matrix = np.stack([first.row * between_columns, first.column * between_rows, step], axis=1)
    geometry = Geometry((count + 1, *first.shape), matrix, lowest)
    index = geometry.to_index(positions)
    slices = np.round(index[:, 2]).astype(int)
    off = np.abs(index - _at(slices)).max(axis=0)
    if (off > allowed(geometry.spacing)).any():
        got = f"frames up to {off.max():.2g} of a voxel off"
        raise _uneven(name, "frames on evenly spaced slices", got)
    return geometry, slices.tolist()


def on_image(
    planes: Sequence[Plane], reference: Image, own: str | None, name: str, notes: list[str]
) -> list[int]:
    """Find the slice of `reference` that each frame lies on.

    Args:
        planes: the frames.
        reference: the image.
        own: FrameOfReferenceUID of the SEG, if it has one.
        name: of the file, for messages.
        notes: what could not be checked is added.

    Raises:
        GeometryError: another frame of reference, or frames that are not slices of the image.
    """
    theirs = frame_of_reference(reference)
    if own and theirs and own != theirs:
        raise GeometryError(
            f"a DICOM SEG in the frame of reference of {reference.name}",
            f"{name} in another one",
            "name the image it was drawn on",
        )
    if not (own and theirs):
        notes.append(f"{reference.name} was matched by position alone, without frame of reference")
    geometry, first = reference.geometry, planes[0]
    rows, columns = geometry.shape[-2:]
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    own_steps = np.stack([first.row * between_columns, first.column * between_rows], axis=1)
    in_voxels = np.linalg.inv(geometry.matrix)
    grown = np.abs(in_voxels @ (own_steps - geometry.matrix[:, :2])) * (columns - 1, rows - 1)
    places = slice_positions(reference)
    slices, shifts = [], []
    for plane in planes:
        apart = plane.position - places
        slices.append(int(np.linalg.norm(apart, axis=1).argmin()))
        shifts.append(np.abs(in_voxels @ apart[slices[-1]]))
    off = grown.sum(axis=1) + np.max(shifts, axis=0)
    same_size = geometry.ndim == 3 and first.shape == (rows, columns)
    if not same_size or (off > allowed(geometry.spacing)).any():
        size = f"{first.shape[1]} x {first.shape[0]} pixels"
        beside = f", up to {off.max():.2g} voxels away" if same_size else ""
        raise GeometryError(
            f"a DICOM SEG whose frames are slices of {reference.name}, {columns} x {rows} pixels",
            f"{name} with frames of {size}{beside}",
            "name the image it was drawn on, leave the image out, or bring it there with "
            "--resample nearest",
        )
    if off.max() > WORTH_A_NOTE:
        notes.append(f"the frames lie up to {off.max():.2g} of a voxel beside the slices")
    return slices


def _steps(levels: NDArray[np.float64], plane: Plane) -> int:
    """Number of steps from the lowest to the highest level of slices.

    The stated distance counts if the levels fit it: slices without any segment have no frame.
    """
    gaps = np.diff(levels)
    stated = abs(number_of(plane.instance, "SpacingBetweenSlices") or 0.0)
    for step in (stated, float(gaps.min())):
        if step > _SAME_PLANE:
            multiples = gaps / step
            whole = np.maximum(np.round(multiples), 1)
            if np.abs(multiples - whole).max() <= 0.2:
                return int(whole.sum())
    return max(1, round(float(gaps.sum() / gaps.min())))


def _thickness(plane: Plane) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if thickness := number_of(plane.instance, keyword):
            return abs(thickness)
    return 1.0


def _at(slices: NDArray[np.int_]) -> NDArray[np.float64]:
    index = np.zeros((len(slices), 3))
    index[:, 2] = slices
    return index


def _uneven(name: str, expected: str, got: str) -> GeometryError:
    return GeometryError(
        f"{expected} in the DICOM SEG", f"{got} in {name}", "give its image with --reference"
    )
