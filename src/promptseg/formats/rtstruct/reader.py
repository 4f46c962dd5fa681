"""DICOM RTSTRUCT -> Segmentation: contours filled slice by slice on the grid of their image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import GeometryError, InputError
from promptseg.formats.contours import filled
from promptseg.formats.dicom.derived import frame_of_reference, full_name, unique_name
from promptseg.formats.dicom.instances import DicomSource
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation

__all__ = ["read_rtstruct"]

_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_IN_PLANE = 0.2  # of the slice distance
_BESIDE = 0.05  # of the slice distance: worth a note
_SAME_PLANE = 0.02  # mm


@dataclass
class _Drawn:
    """The closed contours of one ROI on the grid of an image.

    Attributes:
        on: slice -> [(distance from it in slices, polygon (n, 2) in index coordinates)].
        outside: number of contours above or below the image.
        others: kinds of contours that enclose nothing.
    """

    on: dict[int, list[tuple[float, NDArray[np.float64]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    outside: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def beside(self) -> float:
        """How far, in slices, the nearest contours of a slice lie from it at most."""
        return max((min(abs(off) for off, _ in self.on[k]) for k in self.on), default=0.0)


def read_rtstruct(path: Path, header: pydicom.Dataset, reference: Image | None) -> Segmentation:
    """Read every ROI with closed contours, on the grid of its image; labels are the ROI numbers.

    A pixel belongs to an object if its centre lies inside an odd number of the contours on its slice:
    contours in contours are holes, and keyholes stay holes. A contour counts on the slice nearest to
    it; of contours in several planes nearest to one slice, those of the nearest plane count.

    Args:
        path: the file, for messages.
        header: its data set.
        reference: the image that was drawn on.

    Raises:
        InputError: no image, or contours that cannot be read.
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
    contours = {
        int(item.get("ReferencedROINumber", -1)): item
        for item in header.get("ROIContourSequence") or ()
    }
    rois = [(int(r.get("ROINumber", -1)), r) for r in header.get("StructureSetROISequence") or ()]
    _check_frame(path, header, rois, reference, notes)
    numbers = [number for number, _ in rois]
    elsewhere = _refers_elsewhere(header, reference)
    as_labels = len(set(numbers)) == len(numbers) and min(numbers, default=1) > 0
    taken: set[str] = set()
    segments: list[Segment] = []
    for number, roi in rois:
        told = full_name(roi.get("ROIName"), roi.get("ROIDescription")) or f"ROI {number}"
        item = contours.get(number, pydicom.Dataset())
        drawn = _drawn(item, geometry, f"{path.name}, {told!r}")
        if elsewhere and (drawn.outside or drawn.beside() > _BESIDE):
            raise GeometryError(
                "the image that an RTSTRUCT was drawn on, or one with the same slices",
                f"{reference.name}: another series, and contours of {told!r} are not on its slices",
                "name the image it was drawn on",
            )
        notes += _oddities(told, drawn)
        if not drawn.on and not drawn.outside:
            continue
        label = number if as_labels and max(numbers) <= 65_535 else len(segments) + 1
        mask = _filled(drawn, geometry, told, notes)
        segments.append(
            Segment.from_mask(unique_name(told, taken), label, mask, colour=_colour(item))
        )
    if not segments:
        raise InputError("an RTSTRUCT with closed contours", f"{path} without")
    reference.source.notes.extend(notes)
    return Segmentation(segments, geometry, reference.source, image=reference)


def _check_frame(
    path: Path,
    header: pydicom.Dataset,
    rois: list[tuple[int, pydicom.Dataset]],
    reference: Image,
    notes: list[str],
) -> None:
    frames = {str(roi.get("ReferencedFrameOfReferenceUID") or "") for _, roi in rois}
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


def _drawn(item: pydicom.Dataset, geometry: Geometry, name: str) -> _Drawn:
    """The contours of one ROI, by slice."""
    drawn = _Drawn()
    for kind, points in _closed(item, drawn, name):
        index = geometry.to_index(points)
        depth = index[:, 2]
        if np.ptp(depth) > _IN_PLANE:
            raise GeometryError(
                "contours drawn on the slices of the image",
                f"{name}: a {kind} contour through {np.ptp(depth):.1f} slices",
                "name the image it was drawn on",
            )
        k = round(float(depth.mean()))
        if 0 <= k < geometry.shape[0]:
            drawn.on[k].append((float(depth.mean()) - k, index[:, :2]))
        else:
            drawn.outside += 1
    return drawn


def _closed(
    item: pydicom.Dataset, drawn: _Drawn, name: str
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(kind, (n, 3) points) of the contours that enclose something; the others are counted."""
    for contour in item.get("ContourSequence") or ():
        kind = str(contour.get("ContourGeometricType") or "CLOSED_PLANAR")
        points = _numbers(contour)
        if len(points) % 3 or not np.isfinite(points).all():
            raise InputError("contours of x, y and z", f"{name}: {len(points)} numbers in one")
        if kind in _CLOSED and len(points) >= 9:
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


def _oddities(name: str, drawn: _Drawn) -> list[str]:
    notes = [
        f"{name!r}: {count} {kind} contours that enclose nothing were left out"
        for kind, count in drawn.others.items()
    ]
    if drawn.outside:
        notes.append(f"{name!r}: {drawn.outside} contours outside the image were left out")
    return notes


def _filled(drawn: _Drawn, geometry: Geometry, name: str, notes: list[str]) -> NDArray[np.bool_]:
    mask = np.zeros(geometry.shape, dtype=bool)
    step = geometry.slice_step()
    furthest, between = drawn.beside(), 0
    for k, contours in drawn.on.items():
        nearest = min((off for off, _ in contours), key=abs)
        here = [polygon for off, polygon in contours if abs(off - nearest) * step <= _SAME_PLANE]
        between += len(contours) - len(here)
        mask[k] = filled(here, (geometry.shape[1], geometry.shape[2]))
    if furthest > _BESIDE:
        notes.append(f"{name!r}: contours up to {furthest * step:.2g} mm beside their slices")
    if between:
        notes.append(f"{name!r}: {between} contours between slices were left out")
    return mask


def _colour(item: pydicom.Dataset) -> tuple[int, int, int] | None:
    """The colour to show it in; None where there is none, or none that makes sense."""
    try:
        red, green, blue = (min(255, max(0, int(v))) for v in item.get("ROIDisplayColor") or ())
    except (TypeError, ValueError):
        return None
    return red, green, blue
