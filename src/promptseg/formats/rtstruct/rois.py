"""The ROIs of an RTSTRUCT: what three sequences say of each, brought together by its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from promptseg.errors import InputError
from promptseg.formats.dicom.derived import full_name

__all__ = ["Roi", "rois_of"]

_OF_ROI = ("ReferencedFrameOfReferenceUID", "ROIGenerationAlgorithm", "ROIDescription")
_OF_CONTOURS = ("ROIDisplayColor",)
_OBSERVED = (
    *("RTROIInterpretedType", "ROIInterpreter", "ROIObservationLabel"),
    *("RTROIIdentificationCodeSequence", "TherapeuticRoleCategoryCodeSequence"),
)


@dataclass(frozen=True)
class Roi:
    """One ROI.

    Attributes:
        number: its ROI Number, unique in the file.
        name: what it is called, or "ROI 3".
        said: what is said of it as a whole.
        contours: items of its Contour Sequence.
    """

    number: int
    name: str
    said: pydicom.Dataset
    contours: Sequence[pydicom.Dataset] = ()


def rois_of(path: Path, header: pydicom.Dataset, notes: list[str]) -> list[Roi]:
    """Return all ROIs: those of the Structure Set ROI Sequence, then numbers that only have contours.

    Args:
        path: for messages.
        header: the data set.
        notes: what is not as it should be is added.

    Raises:
        InputError: contours that belong to nobody knows which ROI.
    """
    listed = list(header.get("StructureSetROISequence") or ())
    drawn = list(header.get("ROIContourSequence") or ())
    numbers = [_number(item, "ROINumber") for item in listed]
    owners = [_number(item, "ReferencedROINumber") for item in drawn]
    if None in numbers or len(set(numbers)) < len(numbers):
        if numbers != owners:
            raise InputError(
                "ROIs with a number of their own in the RTSTRUCT",
                f"{path}: {_said_twice(numbers)}",
                "export it again",
            )
        notes.append(f"{path.name}: {_said_twice(numbers)}; contours were matched in order")
        numbers = owners = list(range(1, len(listed) + 1))
    elif None in owners:
        raise InputError(
            "contours that name their ROI in the RTSTRUCT", f"{path} without", "export it again"
        )
    observed = {
        _number(item, "ReferencedROINumber"): item
        for item in header.get("RTROIObservationsSequence") or ()
    }
    found = []
    for number in dict.fromkeys([*numbers, *owners]):
        assert number is not None, "numbers were checked"
        own = [item for item, owner in zip(drawn, owners, strict=True) if owner == number]
        if number in numbers:
            roi = listed[numbers.index(number)]
        else:
            roi = pydicom.Dataset()
            notes.append(f"{path.name} has contours of ROI {number}, which it does not list")
        name = full_name(roi.get("ROIName"), roi.get("ROIDescription")) or f"ROI {number}"
        if len(own) > 1:
            notes.append(f"{name!r}: contours in {len(own)} items were taken together")
        said = pydicom.Dataset()
        for item, keywords in (
            (roi, _OF_ROI),
            (own[0] if own else pydicom.Dataset(), _OF_CONTOURS),
            (observed.get(number, pydicom.Dataset()), _OBSERVED),
        ):
            for keyword in keywords:
                if keyword in item:
                    said[keyword] = item[keyword]
        contours = [c for item in own for c in item.get("ContourSequence") or ()]
        found.append(Roi(number, name, said, contours))
    return found


def _number(item: pydicom.Dataset, keyword: str) -> int | None:
    try:
        return int(str(item.get(keyword)))
    except ValueError:  # nothing, or no number
        return None


def _said_twice(numbers: Sequence[int | None]) -> str:
    number, count = Counter(numbers).most_common(1)[0]
    if None in numbers:
        return f"{numbers.count(None)} without"
    return f"{count} with number {number}"
