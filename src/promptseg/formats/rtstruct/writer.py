"""Segmentation -> DICOM RTSTRUCT: closed contours along the edges of pixels, one ROI per object.

A hole is joined to the outline around it by a channel of no width (a "keyhole", the way PS3.3
describes for CLOSED_PLANAR), which every reader takes as a hole, whatever its rule for contours that
lie in each other. Written in implicit VR, because explicit VR limits a contour to 64 KiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from promptseg._version import __version__
from promptseg.errors import OutputError
from promptseg.formats.colours import colour_of
from promptseg.formats.contours import outlines
from promptseg.formats.dicom.derived import (
    belonging,
    dicom_text,
    frame_of_reference,
    reference_to,
    require_uids,
    series_number,
    slice_positions,
    source_slices,
)
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.origin import kept
from promptseg.image import Image, Segment, Segmentation
from promptseg.names import for_header

__all__ = ["check", "write"]

_SERIES_KIND = 2
_REMOVED = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)
_OBSERVED = (
    *("RTROIInterpretedType", "ROIObservationLabel", "RTROIIdentificationCodeSequence"),
    "TherapeuticRoleCategoryCodeSequence",
)
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # what PS3.3 has for a study is retired, but asked for


def check(target: Segmentation | Image) -> None:
    """Refuse early what no RTSTRUCT can be made for; for an image by making one without ROIs.

    Raises:
        OutputError: not read from DICOM, slices without a place in a frame of reference, or a header
            that nothing can be made of.
    """
    require_uids(source_slices(target, "DICOM RTSTRUCT"), "DICOM RTSTRUCT")
    if target.geometry.ndim != 3 or target.geometry.unit != "mm" or not frame_of_reference(target):
        raise OutputError(
            "slices with a place in a frame of reference for a DICOM RTSTRUCT",
            "an image without",
            "write .nii.gz or .png",
        )
    if isinstance(target, Image):
        _save(Segmentation([], target.geometry, target.source), BytesIO())


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write an RTSTRUCT in the source's patient, study and frame of reference; overlaps as they are.

    Raises:
        OutputError: see `check`.
    """
    check(segmentation)
    segmentation.check_labels()
    _save(segmentation if layers else segmentation.without_overlap(), path)


def _save(segmentation: Segmentation, target: Path | BytesIO) -> None:
    """Make the RTSTRUCT of some masks and write it.

    Raises:
        OutputError: a header of the source that nothing can be made of.
    """
    try:
        _made(segmentation).save_as(target, enforce_file_format=True)
    except (AttributeError, TypeError, ValueError) as error:
        raise OutputError(
            "a source image that a DICOM RTSTRUCT can be made for",
            f"{segmentation.source.path} ({str(error).splitlines()[0][:200]})",
            "repair its header, or write .nii.gz",
        ) from error


def _made(segmentation: Segmentation) -> FileDataset:
    slices = source_slices(segmentation, "DICOM RTSTRUCT")
    structures = _empty(slices[0].header)
    structures.ReferencedFrameOfReferenceSequence = [_referenced(slices)]
    structures.StructureSetROISequence = []
    structures.ROIContourSequence = []
    structures.RTROIObservationsSequence = []
    places = slice_positions(segmentation)
    for segment in segmentation.segments:
        number = segment.label
        structures.StructureSetROISequence.append(_roi(number, segment, segmentation))
        structures.ROIContourSequence.append(
            _contours(number, segment, segmentation, slices, places)
        )
        structures.RTROIObservationsSequence.append(_observation(number, segment))
    return structures


def _empty(source: pydicom.Dataset) -> FileDataset:
    """A structure set without structures, in the patient and study of `source`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    out.SpecificCharacterSet = "ISO_IR 192"
    out.SOPClassUID, out.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    for keyword, value in belonging(source).items():
        setattr(out, keyword, value)
    if source.get("PatientIdentityRemoved") == "YES":
        for keyword in _REMOVED:
            if keyword in source:
                setattr(out, keyword, source[keyword].value)
    out.StudyInstanceUID, out.SeriesInstanceUID = source.StudyInstanceUID, generate_uid()
    out.FrameOfReferenceUID = source.FrameOfReferenceUID
    out.PositionReferenceIndicator = source.get("PositionReferenceIndicator") or ""
    out.Modality, out.SeriesDescription = "RTSTRUCT", "promptseg"
    out.SeriesNumber, out.InstanceNumber = series_number(source, _SERIES_KIND), 1
    out.OperatorsName = ""
    out.Manufacturer = out.ManufacturerModelName = "promptseg"
    out.SoftwareVersions = __version__
    now = datetime.now()
    out.InstanceCreationDate = out.StructureSetDate = now.strftime("%Y%m%d")
    out.InstanceCreationTime = out.StructureSetTime = now.strftime("%H%M%S")
    out.StructureSetLabel, out.ApprovalStatus = "promptseg", "UNAPPROVED"
    return out


def _referenced(slices: Sequence[Instance]) -> pydicom.Dataset:
    """Frame of reference, study and series that the contours were drawn in, with all its objects."""
    header = slices[0].header
    series = pydicom.Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [reference_to(instance) for instance in slices]
    study = pydicom.Dataset()
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = pydicom.Dataset()
    frame.FrameOfReferenceUID = header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _roi(number: int, segment: Segment, segmentation: Segmentation) -> pydicom.Dataset:
    roi = pydicom.Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = frame_of_reference(segmentation)
    roi.ROIName = dicom_text(segment.name, "LO") or f"ROI {number}"
    if segment.name != roi.ROIName:
        roi.ROIDescription = for_header(segment.name)[:1024]
    roi.ROIGenerationAlgorithm = ""
    if segmentation.provenance.model:
        roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    else:
        roi.update(kept(segment, ("ROIGenerationAlgorithm",)))
    return roi


def _observation(number: int, segment: Segment) -> pydicom.Dataset:
    """What the ROI is clinically, as far as the file it was read from says."""
    observation = pydicom.Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    if coded := kept(segment, ("SegmentedPropertyTypeCodeSequence",)):  # of a SEG
        observation.RTROIIdentificationCodeSequence = coded.SegmentedPropertyTypeCodeSequence
    observation.update(kept(segment, _OBSERVED))
    return observation


def _contours(
    number: int,
    segment: Segment,
    segmentation: Segmentation,
    slices: Sequence[Instance],
    places: NDArray[np.float64],
) -> pydicom.Dataset:
    """The contours of one object, slice by slice, in patient millimetres."""
    roi = pydicom.Dataset()
    roi.ReferencedROINumber = number
    roi.ROIDisplayColor = list(colour_of(segment))
    contours = []
    depth, rows, columns = segment.region
    steps = segmentation.geometry.matrix[:, :2].T
    for k, mask in enumerate(segment.crop, depth.start):
        for polygon in outlines(mask):
            points = places[k] + np.add(polygon, (columns.start, rows.start)) @ steps
            contour = pydicom.Dataset()
            contour.ContourImageSequence = [reference_to(slices[k])]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{v:.8g}" for v in points.ravel().tolist()]
            contours.append(contour)
    if contours:
        roi.ContourSequence = contours
    return roi
