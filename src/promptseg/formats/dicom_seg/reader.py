"""DICOM SEG -> Segmentation: binary, fractional and label-map, placed by position alone."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom.derived import full_name, unique_name
from promptseg.formats.dicom.instances import DicomSource
from promptseg.formats.dicom.origin import DicomOrigin
from promptseg.formats.dicom_seg.frames import SegFile
from promptseg.formats.dicom_seg.placing import on_image, on_own_grid
from promptseg.formats.lattice import placement
from promptseg.formats.numbers import number_in, usable_labels
from promptseg.formats.objects import told_by
from promptseg.formats.options import Resample
from promptseg.formats.placing import masks_on
from promptseg.formats.told import provenance_of
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation, Source, bounding_region
from promptseg.provenance import Provenance

__all__ = ["read_seg"]


def read_seg(
    path: Path,
    header: pydicom.FileDataset,
    reference: Image | None = None,
    resample: Resample = "never",
) -> Segmentation:
    """Read every segment with its name, colour and codes.

    A name that occurs several times is numbered from the second on. Labels are the segment numbers,
    unless a name ("label 7") or the provenance beside the file tells what they were before.

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
    frames: dict[int, list[_Piece]] = defaultdict(list)
    for frame, number, mask in file.masks():
        rows, columns = bounding_region(mask)
        piece = _Piece(slices[frame], rows, columns, mask[rows, columns].copy())
        frames[number].append(piece)
    listed = file.segments()
    for number in sorted(set(frames) - set(listed)):
        file.notes.append(f"{path.name} has voxels of segment {number}, which it does not list")
    names: set[str] = set()
    segments = []
    for number in sorted({*listed, *frames}):
        item = listed.get(number, pydicom.Dataset())
        segment = _assembled(frames.get(number, []), geometry)
        told = full_name(item.get("SegmentLabel"), item.get("SegmentDescription"))
        segment.name = unique_name(told or f"segment {number}", names)
        segment.label, segment.colour = number, _colour(item)
        segment.origin = DicomOrigin(segment.name, item)
        segments.append(segment)
    provenance = _number(path, segments, file.notes)
    source = reference.source if reference else Source(path, "dicom_seg")
    source.notes.extend(file.notes)
    return Segmentation(segments, geometry, source, provenance, image=reference)


def _number(path: Path, segments: list[Segment], notes: list[str]) -> Provenance:
    """Give segments the labels they had before they were in DICOM, as far as that is known.

    Returns:
        The provenance beside the file, if it tells of these segments.
    """
    provenance = provenance_of(path, notes)
    told = {t.segment: t for t in told_by(provenance.objects or ())}
    if set(told) != {s.label for s in segments}:
        provenance, told = Provenance(), {}
    labels = [told[s.label].label if told else number_in(s.name) or s.label for s in segments]
    first = sorted(range(len(segments)), key=lambda k: labels[k] == segments[k].label)
    usable = usable_labels([(segments[k].name, labels[k]) for k in first], notes)
    for k, label in zip(first, usable, strict=True):
        if told:
            known = told[segments[k].label]
            segments[k].prompted, segments[k].words = known.prompted, known.words
        segments[k].label = label
    return provenance


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
        return _on_frames(file, reference)
    if reference is None:
        return on_own_grid(file.planes, name)
    own = str(file.header.get("FrameOfReferenceUID") or "") or None
    slices = on_image(file.planes, reference, own, name, file.notes)
    source = reference.source.header
    if isinstance(source, DicomSource):
        places = source.places
        said = [(uid, number) for uid, number in file.references() if uid]
        strange = sum(_key(uid, number, places) not in places for uid, number in said)
        if strange:
            file.notes.append(
                f"{strange} of {file.count} frames of {name} were drawn on other images than "
                f"{reference.name} (another series or time point): placed by position"
            )
    return reference.geometry, slices


def _on_frames(file: SegFile, reference: Image | None) -> tuple[Geometry, list[int]]:
    """The grid of a SEG without places: that of the 2D image or film whose frames it refers to."""
    behind = file.references()
    name, rows_columns = file.path.name, file.shape
    if reference is None:
        if len(set(behind)) > 1:
            raise GeometryError(
                "frames of a DICOM SEG with positions, or all of one 2D image",
                f"{name}: {len(set(behind))} 2D images without positions",
                "give its image with --reference",
            )
        return Geometry.pixels(rows_columns), [0] * file.count
    if reference.geometry.shape[-2:] == rows_columns:
        drawn_on = _frames_behind(reference, behind)
        if drawn_on is not None:
            return reference.geometry, drawn_on
    raise GeometryError(
        f"a DICOM SEG of {reference.name}",
        f"{name} of another 2D image",
        "name the image it was drawn on",
    )


def _frames_behind(reference: Image, behind: list[tuple[str, int]]) -> list[int] | None:
    """The slice of the image behind each frame of a SEG; None if there is another image behind it.

    A 2D image that is not DICOM, or a SEG that does not say, cannot be asked.
    """
    source = reference.source.header
    told = {uid for uid, _ in behind} - {""}
    if not isinstance(source, DicomSource) or not told:
        return [0] * len(behind) if reference.geometry.ndim == 2 else None
    places = source.places
    found = [places.get(_key(uid, number, places), -1) for uid, number in behind]
    return None if -1 in found else found


def _key(uid: str, number: int, places: dict[tuple[str, int], int]) -> tuple[str, int]:
    """What a reference points to: of an object of one frame, the frame need not be said."""
    return (uid, 0) if (uid, 0) in places else (uid, number)


class _Piece(NamedTuple):
    """What a frame holds of one segment: its slice, and the part of it that is not empty."""

    at: int
    rows: slice
    columns: slice
    mask: NDArray[np.bool_]


def _assembled(pieces: list[_Piece], geometry: Geometry) -> Segment:
    """Masks of slices -> one object, cropped, without ever filling the whole grid."""
    if not pieces:
        empty = np.zeros((0,) * geometry.ndim, dtype=bool)
        return Segment("", 0, empty, (slice(0, 0),) * geometry.ndim)
    spans = (
        [slice(p.at, p.at + 1) for p in pieces],
        [p.rows for p in pieces],
        [p.columns for p in pieces],
    )
    first = [min(one.start for one in span) for span in spans]
    last = [max(one.stop for one in span) for span in spans]
    crop = np.zeros([b - a for a, b in zip(first, last, strict=True)], dtype=bool)
    for piece in pieces:
        rows = slice(piece.rows.start - first[1], piece.rows.stop - first[1])
        columns = slice(piece.columns.start - first[2], piece.columns.stop - first[2])
        crop[piece.at - first[0], rows, columns] |= piece.mask
    region = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    if geometry.ndim == 2:
        return Segment("", 0, crop[0], region[1:])
    return Segment("", 0, crop, region)


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
