"""DICOM SEG -> Segmentation: binary, fractional and label-map, placed by position alone."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom.derived import full_name, source_slices, unique_name
from promptseg.formats.dicom.instances import DicomSource
from promptseg.formats.dicom_seg.frames import SegFile
from promptseg.formats.dicom_seg.placing import on_image, on_own_grid
from promptseg.formats.lattice import placement
from promptseg.formats.options import Resample
from promptseg.formats.placing import masks_on
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation, Source

__all__ = ["read_seg"]


def read_seg(
    path: Path,
    header: pydicom.FileDataset,
    reference: Image | None = None,
    resample: Resample = "never",
) -> Segmentation:
    """Read every segment with its name and colour; labels are the segment numbers.

    A name that occurs several times is numbered from the second on.

    Args:
        path: the file, for messages.
        header: its data set, with pixels.
        reference: the image whose slices the frames lie on, or whose voxels they are in another order
            or in part; without it the masks get the grid that their frames span, which begins and
            ends with the first and last slice that holds any.
        resample: whether frames that lie on other voxels are brought there by nearest neighbours.

    Raises:
        InputError: a SEG that cannot be read.
        GeometryError: frames that are no slices of the reference, or of no grid at all.
    """
    file = SegFile.of(path, header)
    try:
        geometry, slices = _placed(file, reference)
    except GeometryError as elsewhere:
        if reference is None or not file.planes or "frame of reference" in elsewhere.expected:
            raise
        return _turned(path, header, reference, resample, elsewhere)
    frames: dict[int, dict[int, NDArray[np.bool_]]] = defaultdict(dict)
    for frame, number, mask in file.masks():
        at = slices[frame]
        before = frames[number].get(at)
        frames[number][at] = mask if before is None else before | mask
    names: set[str] = set()
    segments = []
    for number, item in sorted(file.segments().items()):
        segment = _assembled(frames.get(number, {}), geometry)
        told = full_name(item.get("SegmentLabel"), item.get("SegmentDescription"))
        segment.name = unique_name(told or f"segment {number}", names)
        segment.label, segment.colour = number, _colour(item)
        segments.append(segment)
    source = reference.source if reference else Source(path, "dicom_seg")
    source.notes.extend(file.notes)
    return Segmentation(segments, geometry, source, image=reference)


def _turned(
    path: Path,
    header: pydicom.FileDataset,
    reference: Image,
    resample: Resample,
    elsewhere: GeometryError,
) -> Segmentation:
    """A SEG on its own grid, brought onto that of the image: other axes, or a part of its slices.

    Raises:
        GeometryError: `elsewhere`, if it lies on other voxels and is not to be resampled.
    """
    alone = read_seg(path, header)
    in_space = reference.geometry.ndim == 3 and reference.geometry.unit == "mm"
    fits = in_space and placement(alone.geometry, reference.geometry) is not None
    if not fits and not (in_space and resample == "nearest"):
        raise elsewhere
    reference.source.notes.extend(alone.source.notes)
    return masks_on(alone, reference, resample)


def _placed(file: SegFile, reference: Image | None) -> tuple[Geometry, list[int]]:
    """The grid, and the slice of each frame."""
    name = file.path.name
    if not file.planes:
        return _on_picture(file, reference)
    if reference is None:
        return on_own_grid(file.planes, name)
    own = str(file.header.get("FrameOfReferenceUID") or "") or None
    return reference.geometry, on_image(file.planes, reference, own, name, file.notes)


def _on_picture(file: SegFile, reference: Image | None) -> tuple[Geometry, list[int]]:
    """The grid of a SEG without a place: that of the one picture all frames refer to."""
    behind = set(file.references())
    if len(behind) > 1:
        raise GeometryError(
            "frames of a DICOM SEG with positions, or all of one picture",
            f"{file.path.name}: {len(behind)} pictures without positions",
        )
    if reference is None:
        return Geometry.pixels(file.shape), [0] * file.count
    drawn_on = _is_picture_behind(reference, next(iter(behind))[0])
    if reference.geometry.shape != file.shape or not drawn_on:
        raise GeometryError(
            f"a DICOM SEG of {reference.name}",
            f"{file.path.name} of another picture",
            "name the image it was drawn on",
        )
    return reference.geometry, [0] * file.count


def _is_picture_behind(reference: Image, uid: str) -> bool:
    """Whether a SEG refers to this picture; a file that is not DICOM cannot be asked."""
    if not isinstance(reference.source.header, DicomSource) or not uid:
        return True
    slices = source_slices(reference, "DICOM SEG")
    return any(str(s.header.get("SOPInstanceUID")) == uid for s in slices)


def _assembled(frames: dict[int, NDArray[np.bool_]], geometry: Geometry) -> Segment:
    """Masks of slices -> one object, cropped, without ever filling the whole grid."""
    if not frames:
        empty = np.zeros((0,) * geometry.ndim, dtype=bool)
        return Segment("", 0, empty, (slice(0, 0),) * geometry.ndim)
    if geometry.ndim == 2:
        return Segment.from_mask("", 0, frames[0])
    first, last = min(frames), max(frames)
    stack = np.zeros((last - first + 1, *geometry.shape[1:]), dtype=bool)
    for k, mask in frames.items():
        stack[k - first] = mask
    segment = Segment.from_mask("", 0, stack)
    depth = segment.region[0]
    segment.region = (slice(depth.start + first, depth.stop + first), *segment.region[1:])
    return segment


def _colour(item: pydicom.Dataset) -> tuple[int, int, int] | None:
    """The recommended colour; None where there is none, or none that makes sense."""
    import highdicom

    try:
        lightness, a, b = (int(v) for v in item.get("RecommendedDisplayCIELabValue") or ())
        scaled = highdicom.color.CIELabColor(
            lightness * 100 / 65_535, a * 255 / 65_535 - 128, b * 255 / 65_535 - 128
        )
        red, green, blue = scaled.to_rgb(clip=True)
    except (TypeError, ValueError):
        return None
    return red, green, blue
