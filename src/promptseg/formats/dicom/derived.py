"""Attributes that objects made from images share: what they refer to, and whose they are."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import DA, TM

from promptseg.errors import OutputError
from promptseg.formats.dicom.frames import value_of
from promptseg.formats.dicom.instances import DicomSource, Instance
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation
from promptseg.names import for_header

__all__ = [
    "BELONGING",
    "belonging",
    "dicom_text",
    "frame_of_reference",
    "full_name",
    "positions_on",
    "reference_to",
    "require_uids",
    "series_number",
    "slice_positions",
    "source_slices",
    "unique_name",
]

log = logging.getLogger("promptseg")

BELONGING: tuple[str, ...] = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
"""What every object has to say of its patient and study, be it that it is not known."""

_LONGEST = {"LO": 64, "SH": 16, "ST": 1024}


def source_slices(target: Segmentation | Image, what: str) -> tuple[Instance, ...]:
    """Return the DICOM slices that masks lie on, in their order.

    Args:
        target: the masks, or the image they are going to lie on.
        what: the kind of object to be written, for the message.

    Raises:
        OutputError: the image was not read from DICOM, or its slices are no instances of their own.
    """
    source = target.source.header_of("dicom", target.geometry)
    if isinstance(source, DicomSource):
        return source.slices
    got = f"one read from {target.source.format}"
    if target.source.format == "dicom":
        got = "a mosaic, whose slices cannot be referred to"
    raise OutputError(
        f"a DICOM image as the source of a {what}",
        got,
        "write .nii.gz or .png, or name the DICOM image with --reference",
    )


def require_uids(slices: tuple[Instance, ...], what: str) -> None:
    """Refuse slices that nothing can refer to.

    Raises:
        OutputError: UIDs are missing, as in files that were anonymised by blanking everything; or
            slices share one that must be their own, or differ in one that must be the same.
    """
    needed = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    for instance in slices:
        if missing := [k for k in needed if not instance.header.get(k)]:
            raise OutputError(
                f"slices that a {what} can refer to",
                f"{instance.path.name} without {', '.join(missing)}",
                "write .nii.gz, or use the files as the scanner made them",
            )
    owners: dict[tuple[str, int | None], Instance] = {}
    for instance in slices:
        uid = str(instance.header.SOPInstanceUID)
        other = owners.setdefault((uid, instance.frame), instance)
        if other is not instance:
            raise OutputError(
                f"slices with a SOPInstanceUID of their own, for a {what} to refer to",
                f"{other.path.name} and {instance.path.name} with one",
                "write .nii.gz, or use the files as the scanner made them",
            )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        said = {str(instance.header.get(keyword) or "") for instance in slices}
        if len(said) > 1:
            raise OutputError(
                f"slices of one {keyword} for a {what}",
                f"{len(said)} in {slices[0].path.parent}",
                "write .nii.gz, or use the files as the scanner made them",
            )


def slice_positions(target: Segmentation | Image) -> NDArray[np.float64]:
    """Return LPS positions (slices, 3) of the first pixels of the slices, as they are stored.

    They are those of the grid but for series that are not quite evenly spaced.
    """
    geometry = target.geometry
    source = target.source.header_of("dicom", geometry)
    if isinstance(source, DicomSource):
        stored = [value_of(s, "ImagePositionPatient") for s in source.slices]
        if all(p is not None for p in stored):
            return np.asarray(stored, dtype=np.float64)
    return positions_on(geometry)


def positions_on(geometry: Geometry) -> NDArray[np.float64]:
    """Return LPS positions (slices, 3) of the first voxels of the slices of a grid."""
    index = np.zeros((geometry.slice_count(), 3))
    index[:, 2] = np.arange(len(index))
    return geometry.to_world(index)


def frame_of_reference(target: Segmentation | Image) -> str | None:
    """Return the FrameOfReferenceUID of an image read from DICOM; None if it has none."""
    source = target.source.header_of("dicom", target.geometry)
    if not isinstance(source, DicomSource):
        return None
    return str(source.slices[0].header.get("FrameOfReferenceUID") or "") or None


def reference_to(instance: Instance) -> pydicom.Dataset:
    """Return the DICOM items that refer to one stored slice."""
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = instance.header.SOPClassUID
    reference.ReferencedSOPInstanceUID = instance.header.SOPInstanceUID
    if instance.frame is not None and instance.frame_count > 1:
        reference.ReferencedFrameNumber = instance.frame + 1
    return reference


def belonging(header: pydicom.Dataset) -> dict[str, Any]:
    """Return patient and study attributes as the source says them; empty where it has no valid value.

    Values that DICOM does not allow there, as in some anonymised files, count as not said.
    """
    return {k: header.get(k) if _is_valid(k, header.get(k)) else "" for k in BELONGING}


def _is_valid(keyword: str, value: Any) -> bool:
    """Whether a value is there, and a date a date, a time a time and a sex one that DICOM knows."""
    if keyword == "PatientSex":
        return value in ("M", "F", "O")
    parse = {"DA": DA, "TM": TM}.get(dictionary_VR(keyword), str)
    try:
        return bool(value) and bool(parse(str(value)))
    except ValueError:
        return False


def series_number(header: pydicom.Dataset, kind: int) -> int:
    """Return a number for a derived series: 100 times that of its source, plus a number per kind."""
    number = int(header.get("SeriesNumber") or 0)
    return number * 100 + kind if 0 <= number < 10_000_000 else kind


def dicom_text(text: str, kind: str) -> str:
    """Return a text as a DICOM element can hold it, with a note where it had to be changed.

    Args:
        text: any text.
        kind: value representation: LO (64 characters), SH (16) or ST (1024).
    """
    plain = for_header(text).replace("\n", " ")
    if kind != "ST":
        plain = plain.replace("\\", "/")
    short = plain.strip()[: _LONGEST[kind]].strip()
    if short != text:
        log.warning("DICOM cannot hold the name %r: written as %r", text, short)
    return short


def full_name(label: object, description: object) -> str:
    """Return the name of an object: its label, or the description where the label is cut short."""
    short, long = str(label or "").strip(), str(description or "").strip()
    return long if len(short) >= _LONGEST["LO"] - 4 and long.startswith(short) else short


def unique_name(name: str, taken: set[str]) -> str:
    """Return the name, with a number from 2 where it is taken; adds it to those taken."""
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name} {number}"
    taken.add(unique)
    return unique
