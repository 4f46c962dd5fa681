"""The DICOM objects that an image came from: what a SEG or an RTSTRUCT has to refer to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydicom

__all__ = ["DicomSource", "Instance"]


@dataclass(frozen=True)
class Instance:
    """One slice as it is stored.

    Attributes:
        path: its file.
        header: its data set without pixels (shared by the frames of a multi-frame object).
        frame: frame within a multi-frame object, counted from 0; None for a single-frame one.
    """

    path: Path
    header: pydicom.Dataset
    frame: int | None = None


@dataclass(frozen=True)
class DicomSource:
    """`Source.header` of an image read from DICOM.

    Attributes:
        slices: one instance for every slice of the image, in the order of its slices; a picture has
            one, a video one for every frame.
    """

    slices: tuple[Instance, ...]
