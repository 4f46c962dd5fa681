"""DICOM RTSTRUCT -> Segmentation: contours filled slice by slice on the grid of their image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError
from promptseg.formats.contours import filled
from promptseg.formats.dicom.derived import frame_of_reference, unique_name
from promptseg.formats.dicom.instances import DicomSource
from promptseg.formats.dicom.origin import DicomOrigin
from promptseg.formats.numbers import number_in, usable_labels
from promptseg.formats.objects import told_by
from promptseg.formats.rtstruct.placing import (
    Contour,
    Placement,
    interpolated,
    offset_of,
    placed,
    planes_of,
)
from promptseg.formats.rtstruct.rois import Roi, rois_of
from promptseg.formats.told import provenance_of
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation
from promptseg.provenance import Provenance

__all__ = ["read_rtstruct"]

_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_IN_PLANE = 0.2  # of the slice distance
_BESIDE = 0.05  # of the slice distance: worth a note
_BEYOND = 0.5  # pixels beyond the edge of the image: worth a note
_SHOWN = 5


@dataclass
class _Drawn:
    """The contours of one ROI on the grid of an image.

    Attributes:
        roi: what the file says of it.
        contours: those that are closed.
        others: kinds of contours that enclose nothing.
        untyped: closed contours that do not say that they are.
    """

    roi: Roi
    contours: list[Contour] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    untyped: int = 0


def read_rtstruct(
    path: Path, header: pydicom.Dataset, reference: Image | None, interpolate: bool = False
) -> Segmentation:
    """Read every ROI on the grid of its image; labels are the ROI numbers.

    A pixel belongs to an object if its centre lies inside an odd number of the contours on its slice:
    contours in contours are holes, and keyholes stay holes. See `placing` for the slices. An ROI
    without contours is an object without voxels; one of points and lines alone is left out, noted.

    Args:
        path: the file, for messages.
        header: its data set.
        reference: the image that was drawn on.
        interpolate: fill slices between contours drawn on every second or third slice.

    Raises:
        InputError: no image, contours that cannot be read, or none that enclose anything.
        GeometryError: another frame of reference, contours that are not in the image's slices, or
            neither on them nor of its series.
    """
    if reference is None:
        raise InputError(
            "the image that an RTSTRUCT was drawn on",
            f"{path} alone",
            "name it with --reference",
        )
    geometry = reference.geometry
    if geometry.ndim != 3 or geometry.unit != "mm":
        raise GeometryError("an image with slices in space for an RTSTRUCT", reference.name)
    notes: list[str] = []
    rois = rois_of(path, header, notes)
    _check_frame(path, header, rois, reference, notes)
    elsewhere = _refers_elsewhere(header, reference)
    drawn = [_drawn(roi, geometry, f"{path.name}, {roi.name!r}") for roi in rois]
    drawn_at_all = any(d.contours for d in drawn) or not any(d.others for d in drawn)
    if not drawn or not drawn_at_all or "ROIContourSequence" not in header:
        raise InputError("an RTSTRUCT with closed contours", f"{path} without")
    step = geometry.slice_step()
    planes = [planes_of(each.contours, step) for each in drawn]
    common = offset_of(np.concatenate(planes))
    segments: list[Segment] = []
    taken: set[str] = set()
    for each in drawn:
        place = placed(each.contours, geometry.shape[0], step, common)
        if elsewhere and (place.outside or place.beside > _BESIDE):
            raise GeometryError(
                "the image that an RTSTRUCT was drawn on, or one with the same slices",
                f"{reference.name}: another series, and contours of {each.roi.name!r} are not on "
                "its slices",
                "name the image it was drawn on",
            )
        notes += _oddities(each, place)
        if each.others and not each.contours:  # points and lines, which are no region
            continue
        mask = _filled(place, geometry, each.roi.name, notes, interpolate)
        name = unique_name(each.roi.name, taken)
        segment = Segment.from_mask(name, each.roi.number, mask, colour=_colour(each.roi.said))
        segment.origin = DicomOrigin(name, each.roi.said)
        segments.append(segment)
    notes += _empty(drawn)
    if elsewhere or _drawn_on_others(rois, reference):
        notes.append(
            f"{path.name} was drawn on other images than {reference.name} (another series or time "
            "point): placed by position"
        )
    provenance = _number(path, segments, notes)
    reference.source.notes.extend(notes)
    return Segmentation(segments, geometry, reference.source, provenance, image=reference)


def _number(path: Path, segments: list[Segment], notes: list[str]) -> Provenance:
    """Give segments labels that a label image can hold: ROI numbers, or those their names tell.

    Returns:
        The provenance beside the file, if it tells of these segments.
    """
    wanted = [(s.name, number_in(s.name) or s.label) for s in segments]
    for segment, label in zip(segments, usable_labels(wanted, notes), strict=True):
        segment.label = label
    provenance = provenance_of(path, notes)
    told = {t.label: t for t in told_by(provenance.objects or ())}
    if set(told) != {s.label for s in segments}:
        return Provenance()
    for segment in segments:
        known = told[segment.label]
        segment.prompted, segment.words = known.prompted, known.words
    return provenance


def _check_frame(
    path: Path,
    header: pydicom.Dataset,
    rois: list[Roi],
    reference: Image,
    notes: list[str],
) -> None:
    frames = {str(roi.said.get("ReferencedFrameOfReferenceUID") or "") for roi in rois}
    frames |= {
        str(item.get("FrameOfReferenceUID") or "")
        for item in header.get("ReferencedFrameOfReferenceSequence") or ()
    }
    frames.discard("")
    own = frame_of_reference(reference)
    if own and frames and own not in frames:
        raise GeometryError(
            f"an RTSTRUCT in the frame of reference of {reference.name}",
            f"{path.name} in another one",
            "name the image it was drawn on",
        )
    if not own or not frames:
        notes.append(f"{reference.name} was matched by position alone, without frame of reference")


def _refers_elsewhere(header: pydicom.Dataset, reference: Image) -> bool:
    """Whether it names series of images and the reference, being of DICOM, is none of them."""
    source = reference.source.header_of("dicom", reference.geometry)
    named = {
        str(series.get("SeriesInstanceUID") or "")
        for frame in header.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    } - {""}
    if not isinstance(source, DicomSource) or not named:
        return False
    return str(source.slices[0].header.get("SeriesInstanceUID") or "") not in named


def _drawn_on_others(rois: list[Roi], reference: Image) -> bool:
    """Whether the contours name the images they were drawn on, and none of them is the reference's."""
    source = reference.source.header_of("dicom", reference.geometry)
    named = {
        str(image.get("ReferencedSOPInstanceUID") or "")
        for roi in rois
        for contour in roi.contours
        for image in contour.get("ContourImageSequence") or ()
    } - {""}
    if not isinstance(source, DicomSource) or not named:
        return False
    return named.isdisjoint({str(s.header.get("SOPInstanceUID")) for s in source.slices})


def _drawn(roi: Roi, geometry: Geometry, name: str) -> _Drawn:
    """The contours of one ROI, in pixels and slices."""
    drawn = _Drawn(roi)
    for kind, points in _closed(drawn, name):
        index = geometry.to_index(points)
        depth = index[:, 2]
        if np.ptp(depth) > _IN_PLANE:
            raise GeometryError(
                "contours drawn on the slices of the image",
                f"{name}: a {kind} contour through {np.ptp(depth):.1f} slices",
                "name the image it was drawn on",
            )
        drawn.contours.append(Contour(float(depth.mean()), index[:, :2]))
    return drawn


def _closed(drawn: _Drawn, name: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(kind, (n, 3) points) of the contours that enclose something; the others are counted."""
    for contour in drawn.roi.contours:
        said = str(contour.get("ContourGeometricType") or "")
        kind = said or "CLOSED_PLANAR"
        points = _numbers(contour)
        if len(points) % 3 or not np.isfinite(points).all():
            raise InputError("contours of x, y and z", f"{name}: {len(points)} numbers in one")
        if kind in _CLOSED and len(points) >= 9:
            drawn.untyped += not said
            yield kind, points.reshape(-1, 3)
        else:
            drawn.others[kind] += 1


def _numbers(contour: pydicom.Dataset) -> NDArray[np.float64]:
    """ContourData; straight from the file's text where it has not been parsed, which is slow.

    NaN stands for what is no number.
    """
    element: Any = contour.get_item("ContourData")
    value = element.value if element is not None else None
    texts = value.split(b"\\") if isinstance(value, bytes) else value
    try:
        return np.array([float(text) for text in texts or ()])
    except (TypeError, ValueError):
        return np.array([np.nan])


def _oddities(drawn: _Drawn, place: Placement) -> list[str]:
    name = drawn.roi.name
    notes = [
        f"{name!r}: {count} {kind} contours that enclose nothing were left out"
        for kind, count in drawn.others.items()
    ]
    for count, what in (
        (drawn.untyped, "contours without a type were taken as closed"),
        (place.outside, "contours outside the image were left out"),
        (place.between, "contours between slices were left out"),
        (place.doubled, "contours that are there twice were taken once"),
    ):
        if count:
            notes.append(f"{name!r}: {count} {what}")
    return notes


def _empty(drawn: list[_Drawn]) -> list[str]:
    """A note on ROIs without any contour."""
    names = [repr(d.roi.name) for d in drawn if not d.contours and not d.others]
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    return [f"ROIs without contours, kept as empty: {', '.join(names[:_SHOWN])}{more}"]


def _filled(
    place: Placement, geometry: Geometry, name: str, notes: list[str], interpolate: bool
) -> NDArray[np.bool_]:
    mask = np.zeros(geometry.shape, dtype=bool)
    step, (rows, columns) = geometry.slice_step(), geometry.shape[1:]
    beyond, nothing = 0, 0
    for k, polygons in place.on.items():
        mask[k] = filled(polygons, (rows, columns))
        nothing += not mask[k].any()
        beyond += sum(_reaches_beyond(polygon, rows, columns) for polygon in polygons)
    if place.beside > _BESIDE:
        notes.append(f"{name!r}: contours up to {place.beside * step:.2g} mm beside their slices")
    if nothing:
        where = "any slice" if nothing == len(place.on) else f"{nothing} of {len(place.on)} slices"
        notes.append(f"{name!r}: contours that cover no pixel centre of the image, on {where}")
    if beyond:
        notes.append(f"{name!r}: {beyond} contours reach beyond the image and were cut off")
    missing = place.missing()
    if interpolate and missing:
        spacing = geometry.spacing
        done = interpolated(mask, place.apart, (float(spacing[1]), float(spacing[0])))
        missing = [k for k in missing if k not in done]
        if done:
            notes.append(f"{name!r}: {len(done)} slices between contours were interpolated")
    if missing:
        apart = place.apart * step
        reason = (
            f"contours are {apart:.3g} mm apart, slices {step:.3g} mm: "
            if apart > step * 1.2
            else ""
        )
        do = "; --interpolate fills them" if reason and not interpolate else ""
        notes.append(f"{name!r}: {reason}{len(missing)} slices inside of it are empty{do}")
    return mask


def _reaches_beyond(polygon: NDArray[np.float64], rows: int, columns: int) -> bool:
    low, high = polygon.min(axis=0), polygon.max(axis=0) - (columns - 1, rows - 1)
    return bool(low.min() < -0.5 - _BEYOND or high.max() > 0.5 + _BEYOND)


def _colour(item: pydicom.Dataset) -> tuple[int, int, int] | None:
    """The colour to show it in; None where there is none, or none that makes sense."""
    try:
        red, green, blue = (min(255, max(0, int(v))) for v in item.get("ROIDisplayColor") or ())
    except (TypeError, ValueError):
        return None
    return red, green, blue
