"""Attributes of an object in the SEG or RTSTRUCT it was read from, to write them again."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import pydicom

from promptseg.image import Segment

__all__ = ["DicomOrigin", "kept"]


@dataclass(frozen=True)
class DicomOrigin:
    """`Segment.origin` of an object read from DICOM.

    Attributes:
        name: what the object was called when it was read; one that was renamed means something else.
        said: its item of the Segment Sequence, or ROI and observation of an RTSTRUCT in one.
    """

    name: str
    said: pydicom.Dataset


def kept(segment: Segment, keywords: Iterable[str]) -> pydicom.Dataset:
    """Return copies of these elements from the file an object was read from; none if it was renamed."""
    found = pydicom.Dataset()
    origin = segment.origin
    if isinstance(origin, DicomOrigin) and origin.name == segment.name:
        for keyword in keywords:
            if keyword in origin.said and origin.said[keyword].value not in (None, ""):
                found[keyword] = copy.deepcopy(origin.said[keyword])
    return found
