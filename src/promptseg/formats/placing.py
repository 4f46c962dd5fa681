"""Masks brought onto the grid of their image: one rule for every reader and every verb.

Masks on the image's own lattice are put in place exactly, whatever order or part of it they are stored
in (`promptseg.formats.lattice`). Others are refused unless nearest neighbours are asked for. What knows
no millimetres (PNG, a bare npz; 2D images, films and stacks of pixels) fits by its size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.lattice import WORTH_A_NOTE, Placement, corners, difference, placement
from promptseg.formats.options import Resample
from promptseg.formats.tiff import TURNED
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation, Source
from promptseg.image import bounding_region as _box_around

__all__ = ["grid_text", "labels_on", "masks_on"]

Region = tuple[slice, ...]


@dataclass(frozen=True)
class _Nearest:
    """Nearest neighbours of one grid on another; used like a `Placement`."""

    source: Geometry
    target: Geometry

    def place(
        self, values: NDArray[Any], region: Region | None = None
    ) -> tuple[NDArray[Any], Region, int]:
        """A block of the source where the voxels of the target are nearest to it.

        Returns:
            The block, where it lies on the target, and how many voxels other than 0 lie outside it.
        """
        region = region or tuple(slice(0, n) for n in self.source.shape)
        at = self._reached(region)
        block = np.zeros([r.stop - r.start for r in at], dtype=values.dtype)
        low = np.array([r.start for r in region])
        for k in range(len(block)):
            places = np.indices((1, *block.shape[1:])).reshape(3, -1)
            places += np.array([[at[0].start + k], [at[1].start], [at[2].start]])
            world = self.target.to_world(places[::-1].T)
            index = np.floor(self.source.to_index(world) + 0.5).astype(np.int64)[:, ::-1] - low
            inside = ((index >= 0) & (index < values.shape)).all(axis=1)
            row = np.zeros(len(index), dtype=values.dtype)
            row[inside] = values[tuple(index[inside].T)]
            block[k] = row.reshape(block.shape[1:])
        return block, at, self._lost(values, region)

    def _reached(self, region: Region) -> Region:
        """The box of the target whose voxels may be nearest to one of the source's region."""
        ends = corners(tuple(r.stop - r.start for r in region)) + [r.start for r in region[::-1]]
        ends = np.concatenate([ends + shift for shift in corners((2, 2, 2)) - 0.5])
        index = self.target.to_index(self.source.to_world(ends))[:, ::-1]
        return tuple(
            slice(min(max(0, floor(low)), n), max(0, min(n, ceil(high) + 1)))
            if floor(low) < n and ceil(high) + 1 > 0
            else slice(0, 0)
            for low, high, n in zip(
                index.min(axis=0), index.max(axis=0), self.target.shape, strict=True
            )
        )

    def _lost(self, values: NDArray[Any], region: Region) -> int:
        lost, sizes = 0, np.array(self.target.shape[::-1])
        for k, plane in enumerate(values):
            y, x = np.nonzero(plane)
            places = np.stack(
                [x + region[2].start, y + region[1].start, np.full(len(x), region[0].start + k)]
            )
            index = np.floor(self.target.to_index(self.source.to_world(places.T)) + 0.5)
            lost += int(((index < 0) | (index >= sizes)).any(axis=1).sum())
        return lost


@dataclass(frozen=True)
class _AsItIs:
    """The same voxels in the same order; axes of length one may be there or not."""

    shape: tuple[int, ...]

    def place(
        self, values: NDArray[Any], region: Region | None = None
    ) -> tuple[NDArray[Any], Region, int]:
        """The block as it is, with as many axes as the target."""
        region = region or tuple(slice(0, n) for n in values.shape)
        more = len(self.shape) - values.ndim
        if more > 0:
            return values[(None,) * more], (slice(0, 1),) * more + region, 0
        return values.reshape(values.shape[-more:]), region[-more:], 0


_Way = Placement | _Nearest | _AsItIs


def masks_on(masks: Segmentation, image: Image, resample: Resample = "never") -> Segmentation:
    """Put masks onto the grid of the image they belong to, and give them its source.

    Args:
        masks: on a grid of their own.
        image: the image; what had to be done is added to its notes.
        resample: whether masks that lie on other voxels are brought there by nearest neighbours.

    Raises:
        GeometryError: masks on another grid, or with voxels outside the image.
    """
    where = masks.source.path or Path("the mask")
    notes = image.source.notes
    way = _way(masks.geometry, image, where, resample, notes)
    notes += _upright(masks.source, image, where)
    segments = [_placed(segment, way, where, image, notes) for segment in masks.segments]
    return Segmentation(segments, image.geometry, image.source, masks.provenance, image)


def labels_on(labels: Image, image: Image, path: Path, resample: Resample = "never") -> Any:
    """Put the labels of a file onto the grid of an image, which gets the notes; see `masks_on`.

    Returns:
        An array of the image's shape (without channels).

    Raises:
        GeometryError: as `masks_on`.
    """
    notes = image.source.notes
    way = _way(labels.geometry, image, path, resample, notes)
    told = [f"{path.name}: {note}" for note in labels.source.notes if note not in notes]
    notes += [note for note in [*told, *_upright(labels.source, image, path)] if note not in notes]
    block, region, lost = way.place(labels.voxels)
    if lost:
        _outside(lost, f"{path}", way, image, notes)
    if block.shape == image.geometry.shape:
        return block
    whole = np.zeros(image.geometry.shape, dtype=block.dtype)
    whole[region] = block
    return whole


def _upright(source: Source, image: Image, path: Path) -> list[str]:
    """That an image was turned upright and its mask was not: both may have the same size."""
    if TURNED not in image.source.notes or TURNED in source.notes:
        return []
    return [f"{path.name} has no EXIF orientation: taken as drawn on the upright {image.name}"]


def grid_text(geometry: Geometry) -> str:
    """Return the size and spacing of a grid in words, for messages."""
    shape = " x ".join(str(n) for n in geometry.shape[::-1])
    spacing = " x ".join(f"{v:.5g}" for v in geometry.spacing[: geometry.ndim])
    return f"{shape} voxels of {spacing} {geometry.unit}"


def _way(source: Geometry, image: Image, path: Path, resample: Resample, notes: list[str]) -> _Way:
    """How voxels come from the grid of a mask onto that of its image."""
    target = image.geometry
    same_size = _essential(source.shape) == _essential(target.shape)
    if "pixel" in (source.unit, target.unit) or source.ndim != target.ndim or target.ndim == 2:
        if not same_size:
            raise _other_shape(source, image, path, resample)
        return _AsItIs(target.shape)
    found = placement(source, target)
    if found is not None:
        notes += _said(found, image, path)
        return found
    if resample == "nearest":
        notes.append(
            f"{path.name}: brought onto the voxels of {image.name} by nearest neighbours, for it has "
            f"{difference(source, target)}"
        )
        return _Nearest(source, target)
    raise GeometryError(
        f"labels on the grid of {image.name}, {grid_text(target)}",
        f"{path} of {grid_text(source)}: {difference(source, target)}",
        "name the image they were drawn on, or bring them there with --resample nearest",
    )


def _essential(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without a first axis of one slice."""
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape


def _said(found: Placement, image: Image, path: Path) -> list[str]:
    notes = []
    if not found.is_identity:
        notes.append(
            f"{path.name}: put in place on the voxels of {image.name}, none computed: "
            f"{found.words()}"
        )
    if found.off > WORTH_A_NOTE:
        notes.append(
            f"{path.name}: its voxels lie up to {found.off:.2g} of a voxel beside those of "
            f"{image.name} and are taken for them"
        )
    return notes


def _other_shape(source: Geometry, image: Image, path: Path, resample: Resample) -> GeometryError:
    do = "name the image they were drawn on"
    if resample == "nearest":
        do += "; without sizes in millimetres nothing says where their voxels lie"
    elif sorted(_essential(source.shape)) == sorted(_essential(image.geometry.shape)):
        do += ", or exchange their axes"
    if TURNED in image.source.notes:
        do += f" ({image.name} was {TURNED})"
    return GeometryError(
        f"labels on the grid of {image.name}, {grid_text(image.geometry)}",
        f"{path} of {grid_text(source)}: another shape",
        do,
    )


def _placed(segment: Segment, way: _Way, where: Path, image: Image, notes: list[str]) -> Segment:
    if segment.crop.size == 0:
        d = image.geometry.ndim
        return replace(segment, crop=np.zeros((0,) * d, bool), region=(slice(0, 0),) * d)
    crop, region, lost = way.place(segment.crop, segment.region)
    if lost:
        _outside(lost, f"{where}, {segment.name!r}", way, image, notes)
    if isinstance(way, _Nearest):
        before, after = int(segment.crop.sum()), int(crop.sum())
        if before and not after:
            notes.append(f"{segment.name!r}: none of its {before} voxels was nearest to any voxel")
        inner = _box_around(crop)
        region = tuple(
            slice(r.start + i.start, r.start + i.stop) for r, i in zip(region, inner, strict=True)
        )
        crop = crop[inner]
    return replace(segment, crop=np.ascontiguousarray(crop), region=region)


def _outside(lost: int, what: str, way: _Way, image: Image, notes: list[str]) -> None:
    """Voxels beyond the image: refused, or said where resampling was asked for."""
    if isinstance(way, _Nearest):
        notes.append(f"{what}: {lost} voxels outside {image.name} were left out")
        return
    raise GeometryError(
        f"labels inside {image.name}",
        f"{what}: {lost} voxels outside",
        "name the image they were drawn on, or crop them to it",
    )
