"""Source slices in the one form highdicom takes: single-frame instances of one orientation.

A frame of a multi-frame object stands as an instance of its own while the SEG is made; afterwards the
references to it are written as DICOM wants them, by object and frame. The frames of a film, which lie
nowhere, stand on top of each other meanwhile; afterwards nothing is said of a place.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from promptseg.formats.dicom.derived import belonging, reference_to
from promptseg.formats.dicom.frames import value_of
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.planes import number_of, spacing_of
from promptseg.geometry import Geometry

__all__ = ["is_film", "restore_references", "stand_ins", "without_places"]

_COMMON = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_OF_FRAMES = (
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
)


def is_film(slices: Sequence[Instance], geometry: Geometry) -> bool:
    """Tell whether slices are frames of one object without a position: a film, or a stack of pixels."""
    first = slices[0].header.get("SOPInstanceUID")
    one = all(s.frame is not None and s.header.get("SOPInstanceUID") == first for s in slices)
    return one and geometry.ndim == 3 and geometry.unit == "pixel"


def stand_ins(slices: Sequence[Instance], geometry: Geometry) -> list[pydicom.Dataset]:
    """Return one header per slice, with its own position and the orientation of the first.

    The first also holds everything that is said of patient, study and equipment.

    Args:
        slices: the slices of an image, in its order.
        geometry: its grid.
    """
    first = slices[0]
    orientation = value_of(first, "ImageOrientationPatient")
    film = is_film(slices, geometry)
    placed = orientation is not None and geometry.ndim == 3 and geometry.unit == "mm"
    normal = np.cross(geometry.matrix[:, 0], geometry.matrix[:, 1])
    between = abs(float(normal @ geometry.matrix[:, 2]) / float(np.linalg.norm(normal)))
    frame_of_film = generate_uid()
    found = []
    for instance in slices:
        header = _facts(instance.header) if instance is first else pydicom.Dataset()
        for keyword in _COMMON:
            if keyword in first.header:
                setattr(header, keyword, first.header[keyword].value)
        header.SOPInstanceUID = instance.header.SOPInstanceUID
        if instance.frame is not None:
            header.SOPInstanceUID = generate_uid()
        # the class decides whether highdicom asks for a frame of reference
        header.SOPClassUID = CTImageStorage if placed or film else SecondaryCaptureImageStorage
        header.Rows, header.Columns = geometry.shape[-2:]
        if placed:
            header.ImagePositionPatient = _decimals(value_of(instance, "ImagePositionPatient"))
            header.ImageOrientationPatient = _decimals(orientation)
            header.PixelSpacing = _decimals(spacing_of(first) or geometry.spacing[1::-1])
            header.SliceThickness = _decimals([number_of(first, "SliceThickness") or between])[0]
            header.SpacingBetweenSlices = _decimals([between])[0]
        elif film:
            header.FrameOfReferenceUID = frame_of_film
            header.ImagePositionPatient = [0, 0, instance.frame or 0]
            header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            header.PixelSpacing, header.SliceThickness = [1, 1], 1
        else:
            header.pop("FrameOfReferenceUID", None)  # without a position it says nothing
        found.append(header)
    return found


def _facts(header: pydicom.Dataset) -> pydicom.Dataset:
    """What is said of an object as a whole; what must be said and is not known is left empty."""
    facts = pydicom.Dataset()
    for tag in header.keys():  # noqa: SIM118 - iterating a data set decodes every element
        if not tag.is_private and keyword_for_tag(tag) not in _OF_FRAMES:
            with contextlib.suppress(Exception):  # a value that cannot be decoded is not copied
                facts[tag] = copy.copy(header[tag])  # its own: the header stays as it is
    for keyword, value in belonging(header).items():
        setattr(facts, keyword, value)
    return facts


def restore_references(
    seg: pydicom.Dataset, stood_in: Sequence[pydicom.Dataset], slices: Sequence[Instance]
) -> None:
    """Let a SEG refer to the slices themselves, not to what stood in for them.

    Args:
        seg: made from `stood_in`; changed in place.
        stood_in: what `stand_ins` gave for `slices`.
        slices: the source slices.
    """
    real = {str(s.SOPInstanceUID): i for s, i in zip(stood_in, slices, strict=True)}
    objects = {str(i.header.SOPInstanceUID): i for i in slices}
    whole = [_without_frame(reference_to(i)) for i in objects.values()]
    seg.SourceImageSequence = whole
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = whole
    items = {  # each once: the frames of several segments share them
        id(item): item
        for frame in seg.PerFrameFunctionalGroupsSequence
        for derivation in frame.get("DerivationImageSequence", ())
        for item in derivation.SourceImageSequence
    }
    for item in items.values():
        item.update(reference_to(real[str(item.ReferencedSOPInstanceUID)]))


def without_places(seg: pydicom.Dataset) -> None:
    """Let the frames of a SEG of a film be ordered by the frames they refer to, and lie nowhere.

    Args:
        seg: made from stand-ins, its references restored; changed in place.
    """
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        seg.pop(keyword, None)
    shared = seg.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        shared.pop(keyword, None)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        content = frame.FrameContentSequence[0]
        content.StackID = "1"
        content.InStackPositionNumber = int(source.ReferencedFrameNumber)
        frame.pop("PlanePositionSequence", None)
    place = next(
        item
        for item in seg.DimensionIndexSequence
        if item.DimensionIndexPointer == tag_for_keyword("ImagePositionPatient")
    )
    place.DimensionIndexPointer = tag_for_keyword("InStackPositionNumber")
    place.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
    place.DimensionDescriptionLabel = "In-Stack Position Number"


def _without_frame(reference: pydicom.Dataset) -> pydicom.Dataset:
    reference.pop("ReferencedFrameNumber", None)
    return reference


def _decimals(values: object) -> list[DSfloat]:
    """Numbers as decimal strings; those of the source as they are."""
    return [
        v if isinstance(v, DSfloat) else DSfloat(float(v), auto_format=True)
        for v in np.atleast_1d(np.asarray(values, dtype=object))
    ]
