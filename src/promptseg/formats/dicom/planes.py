"""Planes: where slices lie in space, before they are decoded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom import mosaic
from promptseg.formats.dicom.frames import each_frame, value_of
from promptseg.formats.dicom.instances import Instance

__all__ = ["Plane", "number_of", "places_along", "planes_of", "spacing_of", "turned"]

_ROUNDING = 0.1  # mm: two positions of one place, both rounded to 0.1 mm
_LEAST = 1e-2  # mm
_SAME_PLACE = 0.2  # of a pixel, or of the mean step


@dataclass(frozen=True)
class Plane:
    """One slice in space.

    Attributes:
        instance: where it is stored.
        shape: (rows, columns).
        position: (3,) LPS position of the centre of its first pixel, in mm.
        row: (3,) unit vector in which the column index grows.
        column: (3,) unit vector in which the row index grows.
        spacing: (between rows, between columns) in mm; None if the file does not say.
        tile: where in the stored frame it is, if it is but a part of a mosaic.
    """

    instance: Instance
    shape: tuple[int, int]
    position: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    spacing: tuple[float, float] | None
    tile: tuple[slice, slice] | None = None

    @property
    def name(self) -> str:
        """Return file and frame, for messages."""
        frame = self.instance.frame
        return self.instance.path.name + ("" if frame is None else f" frame {frame}")

    @property
    def normal(self) -> NDArray[np.float64]:
        """Return the unit vector (3,) of row x column."""
        normal = np.cross(self.row, self.column)
        return np.asarray(normal / np.linalg.norm(normal))


def planes_of(instance: Instance) -> list[Plane]:
    """Return the slices of one file, placed in space; [] if the file does not place them.

    Raises:
        GeometryError: only a part of what places them is there, or it makes no sense.
    """
    frames = each_frame(instance)
    placed = [_plane(frame) for frame in frames]
    planes = [plane for plane in placed if plane is not None]
    if planes and len(planes) < len(frames):
        raise GeometryError(
            f"a position for each of {len(frames)} frames", f"{len(planes)} in {instance.path.name}"
        )
    if len(planes) == 1 and mosaic.is_mosaic(instance.header):
        (whole,) = planes
        tiles = mosaic.tiles(instance, whole.position, whole.row, whole.column, whole.spacing)
        return [
            dataclasses.replace(whole, shape=t.shape, position=t.position, tile=t.part)
            for t in tiles
        ] or planes
    return planes


def turned(plane: Plane, other: Plane) -> float:
    """Measure by how many pixels the axes of two slices part at the last pixel.

    Orientations written with few digits differ without lying apart, and small angles grow on large
    slices.
    """
    between_rows, between_columns = other.spacing or (1.0, 1.0)
    rows, columns = other.shape
    across = np.abs(plane.row - other.row).max() * (columns - 1) * between_columns
    down = np.abs(plane.column - other.column).max() * (rows - 1) * between_rows
    return float((across + down) / min(between_rows, between_columns))


def places_along(along: NDArray[np.float64], plane: Plane) -> NDArray[np.int64]:
    """Return the number of the place that each slice lies at: from 0, growing along the normal.

    Args:
        along: distance of each slice along the normal, in mm, growing.
        plane: one of them.

    Places that differ by a fifth of a pixel, or of the mean step, are one; by what rounding to 0.1 mm
    makes of one place at most, and by 0.01 mm however small the steps are.
    """
    pixel = min(plane.spacing or (1.0, 1.0))
    mean = float(along[-1] - along[0]) / max(1, len(along) - 1)
    most, least = (min(most, _SAME_PLACE * pixel) for most in (_ROUNDING + 1e-6, _LEAST))
    steps = np.diff(along) > min(most, max(least, _SAME_PLACE * mean))
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)


def spacing_of(instance: Instance) -> tuple[float, float] | None:
    """Return the spacing in mm, (between rows, between columns); None if the file does not say it.

    Raises:
        GeometryError: not two numbers above 0.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if found := value_of(instance, keyword):
            numbers = _numbers(found, 2, keyword, instance)
            if (numbers <= 0).any():
                raise GeometryError(
                    f"{keyword} above 0",
                    f"{found} in {instance.path.name}",
                    "repair its header, or export the series again",
                )
            return float(numbers[0]), float(numbers[1])
    return None


def number_of(instance: Instance, keyword: str) -> float | None:
    """Read a number from the header of one slice; None if it is absent, empty or no number."""
    found = value_of(instance, keyword)
    try:
        number = float(found) if found not in (None, "") else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and np.isfinite(number) else None


def _plane(instance: Instance) -> Plane | None:
    position = value_of(instance, "ImagePositionPatient")
    directions = value_of(instance, "ImageOrientationPatient")
    if position is None or directions is None:
        return None
    header = instance.header
    axes = _numbers(directions, 6, "ImageOrientationPatient", instance).reshape(2, 3)
    if np.linalg.norm(np.cross(*axes)) < 1e-6:
        raise GeometryError(
            "two directions in ImageOrientationPatient",
            f"{directions} in {instance.path.name}",
            "export the series again",
        )
    row, column = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    shape = int(header.Rows), int(header.Columns)
    place = _numbers(position, 3, "ImagePositionPatient", instance)
    return Plane(instance, shape, place, row, column, spacing_of(instance))


def _numbers(found: Any, count: int, keyword: str, instance: Instance) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(found, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise GeometryError(
            f"{count} numbers in {keyword}",
            f"{found!s} in {instance.path.name}",
            "repair its header, or export the series again",
        )
    return numbers
