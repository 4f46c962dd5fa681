"""The frames of a DICOM SEG: which segments they hold, where they lie, and their pixels.

Read with pydicom alone and as tolerantly as can be done without guessing, because many a SEG in the
wild lacks something that the standard asks for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from promptseg.errors import InputError
from promptseg.formats.dicom.instances import Instance
from promptseg.formats.dicom.planes import Plane, planes_of
from promptseg.formats.memory import require_memory
from promptseg.formats.quiet import quiet

__all__ = ["LABEL_MAP", "SEGMENTATION", "SegFile"]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


@dataclass(frozen=True)
class SegFile:
    """A SEG as it is stored.

    Attributes:
        path: its file.
        header: the whole data set.
        planes: one per frame, placed in space; none if the frames do not say where they lie.
        notes: what had to be decided is added.
    """

    path: Path
    header: pydicom.Dataset
    planes: tuple[Plane, ...]
    notes: list[str]

    @classmethod
    def of(cls, path: Path, header: pydicom.FileDataset) -> SegFile:
        """Check what is needed to read the frames.

        Raises:
            InputError: no pixels, or fewer frames described than there are.
            GeometryError: frames placed in part, or contradictorily.
        """
        if "Rows" not in header or not isinstance(header.get("PixelData"), bytes):
            raise InputError("a DICOM SEG with frames", f"{path} without", "export it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            planes = planes_of(Instance(path, header))
        file = cls(path, header, tuple(planes), [])
        require_memory((file.count, *file.shape), 1, path)
        return file

    @property
    def shape(self) -> tuple[int, int]:
        """Return the rows and columns of a frame."""
        return int(self.header.Rows), int(self.header.Columns)

    @property
    def count(self) -> int:
        """Return the number of frames."""
        return int(self.header.get("NumberOfFrames") or 1)

    @property
    def is_label_map(self) -> bool:
        """Tell whether pixels are segment numbers, not membership of one segment."""
        kind = str(self.header.get("SegmentationType", ""))
        return kind == "LABELMAP" or str(self.header.get("SOPClassUID", "")) == LABEL_MAP

    def segments(self) -> dict[int, pydicom.Dataset]:
        """Return the items of the Segment Sequence by number, without the background of a label map.

        Raises:
            InputError: none, one without a number, or several with one.
        """
        items = self.header.get("SegmentSequence") or []
        found = {_whole(item.get("SegmentNumber"), -1): item for item in items}
        if not found or -1 in found:
            raise InputError("numbered segments in the DICOM SEG", f"{self.path} without")
        if len(found) < len(items):
            raise InputError(
                "segments with a number of their own in the DICOM SEG",
                f"{self.path} with {len(items)} segments and {len(found)} numbers",
                "export it again",
            )
        return {number: item for number, item in found.items() if number != self.background}

    @property
    def background(self) -> int | None:
        """Return the pixel value of a label map that stands for no segment; None in other SEGs."""
        return _whole(self.header.get("PixelPaddingValue"), 0) if self.is_label_map else None

    def references(self) -> list[tuple[str, int]]:
        """Return the image (SOPInstanceUID, frame) behind each frame; ("", 0) where it is not said."""
        found = []
        for groups in self._groups():
            reference = _first(groups, "DerivationImageSequence", "SourceImageSequence")
            uid = str(reference.get("ReferencedSOPInstanceUID") or "")
            found.append((uid, _whole(reference.get("ReferencedFrameNumber"), 0)))
        return found

    def masks(self) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """Yield (frame, segment number, mask (y, x)) of everything that is not empty.

        Numbers of a label map that no segment is listed for are among them.

        Raises:
            InputError: pixels that cannot be decoded, or a frame that names no segment.
        """
        numbers = self.segments()
        owners = None if self.is_label_map else self._owners(list(numbers))
        for k, pixels in enumerate(self._pixels()):
            if owners is not None:
                if pixels.any():
                    yield k, owners[k], pixels.astype(bool)
                continue
            for value in np.unique(pixels):
                if int(value) != self.background:
                    yield k, int(value), pixels == value

    def _owners(self, numbers: list[int]) -> list[int]:
        """The segment number of each frame."""
        found: list[int] = []
        for groups in self._groups():
            item = _first(groups, "SegmentIdentificationSequence")
            said = item.get("ReferencedSegmentNumber")
            number = numbers[0] if said is None and len(numbers) == 1 else _whole(said, -1)
            if number not in numbers:
                raise InputError(
                    "frames of a DICOM SEG that name their segment",
                    f"{self.path}: frame {len(found)} names {said}",
                    "export it again",
                )
            found.append(number)
        return found

    def _groups(self) -> Iterator[tuple[pydicom.Dataset, ...]]:
        """Functional groups of each frame: its own, then those of all frames."""
        shared = tuple(self.header.get("SharedFunctionalGroupsSequence") or ())[:1]
        own = self.header.get("PerFrameFunctionalGroupsSequence") or []
        for k in range(self.count):
            yield (*([own[k]] if k < len(own) else []), *shared)

    def _pixels(self) -> Iterator[NDArray[Any]]:
        """(y, x) of each frame: 0 and 1, thresholded, or segment numbers."""
        syntax = self.header.file_meta.get("TransferSyntaxUID")
        packed = _whole(self.header.get("BitsAllocated"), 1) == 1
        if packed and not (syntax and UID(syntax).is_compressed):
            yield from self._unpacked()
            return
        try:
            with quiet():
                stored = pixel_array(self.header).reshape(self.count, *self.shape)
        except Exception as error:  # pydicom and its decoders raise anything on damaged pixels
            reason = str(error).splitlines()[0][:200]
            raise InputError(
                "pixels of a DICOM SEG that can be decoded", f"{self.path} ({reason})"
            ) from error
        if str(self.header.get("SegmentationType", "")) == "FRACTIONAL":
            said = _whole(self.header.get("MaximumFractionalValue"), 0)
            most = int(said or stored.max() or 1)
            unsaid = "" if said else ", the highest value: the file does not say the maximum"
            self.notes.append(f"fractional SEG: taken where it is at least half of {most}{unsaid}")
            yield from (frame * 2.0 >= most for frame in stored)
            return
        if not self.is_label_map and (highest := int(stored.max())) > 1:
            raise InputError(
                "pixels of 0 and 1 in a binary DICOM SEG",
                f"{self.path} with values up to {highest}",
                "export it again: is it fractional, or a label map?",
            )
        yield from stored

    def _unpacked(self) -> Iterator[NDArray[np.uint8]]:
        """Frames of one bit per pixel, packed without a gap from frame to frame."""
        data = np.frombuffer(self.header.PixelData, dtype=np.uint8)
        size = self.shape[0] * self.shape[1]
        if len(data) * 8 < size * self.count:
            raise InputError(
                f"{self.count} frames in the DICOM SEG",
                f"{self.path}, which ends after {len(data) * 8 // size}",
                "get it again",
            )
        for k in range(self.count):
            first, last = k * size // 8, -(-(k + 1) * size // 8)
            bits = np.unpackbits(data[first:last], bitorder="little")
            start = k * size - first * 8
            yield bits[start : start + size].reshape(self.shape)


def _whole(value: Any, otherwise: int) -> int:
    """A value of a header as a whole number, the first of several; `otherwise` if it is none."""
    try:
        return int(np.ravel(value)[0])
    except (TypeError, ValueError, IndexError, OverflowError):
        return otherwise


def _first(groups: tuple[pydicom.Dataset, ...], *path: str) -> pydicom.Dataset:
    """The item at the end of a path of sequences, in the first group that has it; else empty."""
    for group in groups:
        item = group
        for name in path:
            items = item.get(name)
            if not items:
                break
            item = items[0]
        else:
            return item
    return pydicom.Dataset()
