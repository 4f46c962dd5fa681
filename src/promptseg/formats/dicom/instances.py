"""The DICOM objects that an image came from: what a SEG or an RTSTRUCT has to refer to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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
        pixels_at: where in the file its pixel data begin; None if the file is compressed as a whole.
    """

    path: Path
    header: pydicom.FileDataset
    frame: int | None = None
    pixels_at: int | None = None

    @property
    def frame_count(self) -> int:
        """Return the number of frames of its object."""
        return max(int(self.header.get("NumberOfFrames") or 1), 1)


@dataclass(frozen=True)
class DicomSource:
    """`Source.header` of an image read from DICOM.

    The slices of a mosaic are no instances of their own; an image made of them has no such header.

    Attributes:
        slices: one instance for every slice of the image, in the order of its slices; a 2D image has
            one, a video one for every frame.
    """

    slices: tuple[Instance, ...]

    @cached_property
    def places(self) -> dict[tuple[str, int], int]:
        """Return the slice of each (SOPInstanceUID, frame); the frame is 0 where an object has one."""
        return {
            (str(s.header.get("SOPInstanceUID")), (s.frame or 0) + 1 if s.frame_count > 1 else 0): k
            for k, s in enumerate(self.slices)
        }
