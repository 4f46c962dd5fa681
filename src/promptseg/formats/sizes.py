"""The size of an image, told without reading its voxels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

from promptseg.errors import PromptsegError
from promptseg.formats.location import address_in, storage_in
from promptseg.formats.memory import AskedOnly, asking_only
from promptseg.formats.options import ReadOptions

__all__ = ["Size", "size_of"]

_UNPACKED = 3  # times the bytes of a packed file: what scans are packed by
_PACKED = (".gz", ".nrrd", ".mha", ".mgz", ".npz", ".png", ".jpg", ".jpeg", ".webp")
_USUAL_ITEM, _USUAL_SLICES = 2, 100  # of an image of which only the bytes are known


@dataclass(frozen=True)
class Size:
    """The number of voxels of an image, channels counted, and bytes of each.

    Attributes:
        voxels: their number.
        itemsize: bytes of one as it is stored.
        slices: how many slices a volume has, by its shortest side; 1 of a picture.
    """

    voxels: int
    itemsize: int
    slices: int = 1

    @property
    def nbytes(self) -> int:
        """Return the bytes of all voxels together."""
        return self.voxels * self.itemsize


def size_of(path: Path, options: ReadOptions | None = None) -> Size | None:
    """Return the size of the image at a path, as its head says; None where that is not known.

    Of a folder of DICOM files, the first file's size for each; of storage, by the bytes of the file.

    Args:
        path: file, folder or address.
        options: as for reading.

    Example:
        >>> size_of(Path("nothing-here.nii.gz")) is None
        True
    """
    try:
        if address_in(path) is not None:
            return None
        if storage_in(path) is not None:
            return _in_storage(path)
        if os.path.isdir(path) and (found := _series(path)) is not None:
            return found
        return _asked(path, options)
    except (PromptsegError, OSError, ValueError, TypeError, AttributeError):
        return None  # reading it says what is wrong


def _asked(path: Path, options: ReadOptions | None) -> Size | None:
    """The size that the reader of an image would allocate."""
    from promptseg.formats import read

    try:
        with asking_only():
            read(path, options)
    except AskedOnly as asked:
        grid = asked.shape[:3]
        return Size(prod(asked.shape), asked.itemsize, min(grid) if len(grid) == 3 else 1)
    return None  # of a format that is read as it is needed


def _series(folder: Path) -> Size | None:
    """The size of a folder of DICOM slices: as many as there are files, each like the first."""
    import pydicom

    from promptseg.formats import is_dicom_file

    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    first = next((folder / name for name in names[:5] if is_dicom_file(folder / name)), None)
    if first is None:
        return None
    head = pydicom.dcmread(first, stop_before_pixels=True)
    frames = int(head.get("NumberOfFrames") or 1)
    samples = int(head.get("SamplesPerPixel") or 1)
    item = max(1, int(head.get("BitsAllocated") or 16) // 8)
    slices = len(names) * frames
    return Size(slices * int(head.Rows) * int(head.Columns) * samples, item, slices)


def _in_storage(path: Path) -> Size | None:
    from promptseg.formats.storage import stamp

    size = stamp(path)[0]
    if not size:
        return None
    packed = path.name.lower().endswith(_PACKED)
    return Size(int(size) * (_UNPACKED if packed else 1) // _USUAL_ITEM, _USUAL_ITEM, _USUAL_SLICES)
