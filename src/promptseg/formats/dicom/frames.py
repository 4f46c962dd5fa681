"""Multi-frame objects: what is said of one frame, of all frames, or of the object as a whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pydicom

from promptseg.errors import GeometryError
from promptseg.formats.dicom.instances import Instance

__all__ = ["each_frame", "value_of"]

_GROUP = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "StackID": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "InversionTimes": "MRModifierSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "NominalPercentageOfCardiacPhase": "CardiacSynchronizationSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
}
_MOST_FRAMES = 10**6  # a film of nine hours; more is a damaged header
_FRAME_TYPE = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XAXRFFrameCharacteristicsSequence",
)


def each_frame(instance: Instance) -> list[Instance]:
    """Return the frames of an object as instances of their own; of a single-frame one, itself.

    Raises:
        GeometryError: the object describes fewer frames than it says it has, or says a senseless
            number.
    """
    header = instance.header
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if "NumberOfFrames" not in header and not groups:
        return [instance]
    count = instance.frame_count
    if count > _MOST_FRAMES:
        raise GeometryError(
            f"at most {_MOST_FRAMES} frames", f"{count} in {instance.path.name}", "check its header"
        )
    if groups and len(groups) < count:
        raise GeometryError(
            f"functional groups for {count} frames", f"{len(groups)} in {instance.path.name}"
        )
    return [dataclasses.replace(instance, frame=k) for k in range(count)]


def value_of(instance: Instance, keyword: str) -> Any:
    """Return a value for one slice: of its frame, of all frames, or of its object; None if it has none.

    Args:
        instance: a single-frame object, or one frame of a multi-frame one.
        keyword: DICOM keyword; "FrameType" also stands for the ImageType of a single-frame object.
    """
    header = instance.header
    if instance.frame is not None:
        for group in _groups(header, instance.frame):
            for name in _FRAME_TYPE if keyword == "FrameType" else (_GROUP.get(keyword),):
                items = group.get(name) if name else None
                if items and items[0].get(keyword) not in (None, ""):
                    return items[0].get(keyword)
        if keyword == "ImagePositionPatient" and "GridFrameOffsetVector" in header:
            return _dose_position(header, instance.frame)
        if keyword == "ImagePositionPatient" and "DetectorInformationSequence" in header:
            return _tomographic_position(header, instance.frame)
        if keyword == "ImageOrientationPatient" and "DetectorInformationSequence" in header:
            return header.DetectorInformationSequence[0].get(keyword)
        if keyword == "ImagePositionPatient" and instance.frame_count > 1:
            return None  # one position for many frames places none of them
    return header.get("ImageType" if keyword == "FrameType" else keyword)


def _groups(header: pydicom.Dataset, frame: int) -> list[pydicom.Dataset]:
    groups = []
    if per_frame := header.get("PerFrameFunctionalGroupsSequence"):
        groups.append(per_frame[frame])
    if shared := header.get("SharedFunctionalGroupsSequence"):
        groups.append(shared[0])
    return groups


def _dose_position(header: pydicom.Dataset, frame: int) -> Any:
    """Plane of a dose grid: offsets along the normal or, if they do not begin at 0, values of z."""
    offsets = np.atleast_1d(np.asarray(header.GridFrameOffsetVector, np.float64))
    position, row_column = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if not position or not row_column or len(offsets) <= frame:
        return None
    row, column = np.reshape(np.asarray(row_column, np.float64), (2, 3))
    along = np.cross(row, column) if offsets[0] == 0 else np.array([0.0, 0.0, 1.0])
    return np.asarray(position, np.float64) + (offsets[frame] - offsets[0]) * along


def _tomographic_position(header: pydicom.Dataset, frame: int) -> Any:
    """Slice of a reconstructed nuclear medicine tomogram: even steps from the first one."""
    detector = header.DetectorInformationSequence[0]
    row_column = detector.get("ImageOrientationPatient")
    origin, step = detector.get("ImagePositionPatient"), header.get("SpacingBetweenSlices")
    tomographic = "RECON TOMO" in (header.get("ImageType") or ())
    if origin is None or row_column is None or not step or not tomographic:
        return None
    row, column = np.reshape(np.asarray(row_column, np.float64), (2, 3))
    return np.asarray(origin, np.float64) + frame * float(step) * np.cross(row, column)
