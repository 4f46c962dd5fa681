"""Siemens mosaics: the slices of a volume as tiles of one 2D image.

The tiles fill a square, row by row; those after the last slice are empty. ImagePositionPatient is
that of the first slice, had it the size of the whole mosaic around the same centre. How many slices
there are, and in which direction they follow each other, stands in private elements only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from promptseg.errors import GeometryError
from promptseg.formats.dicom.instances import Instance

__all__ = ["Tile", "is_mosaic", "tiles"]

_CSA_GROUP, _CSA_MAKER, _CSA_IMAGE = 0x0029, "SIEMENS CSA HEADER", 0x10
_MR_GROUP, _MR_MAKER, _SLICES_IN_MOSAIC = 0x0019, "SIEMENS MR HEADER", 0x0A


@dataclass(frozen=True)
class Tile:
    """One slice of a mosaic.

    Attributes:
        part: its rows and columns in the mosaic.
        position: (3,) LPS position of the centre of its first pixel, in mm.
    """

    part: tuple[slice, slice]
    position: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the rows and columns of a tile."""
        rows, columns = self.part
        return rows.stop - rows.start, columns.stop - columns.start


def is_mosaic(header: pydicom.Dataset) -> bool:
    """Tell whether an object says that it is a mosaic."""
    kind = header.get("ImageType") or ()
    return "MOSAIC" in kind and str(header.get("Manufacturer", "")).upper().startswith("SIEMENS")


def tiles(
    instance: Instance,
    position: NDArray[np.float64],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    spacing: tuple[float, float] | None,
) -> list[Tile]:
    """Return the slices of a mosaic; [] if the 2D image has no such tiles, whatever its header says.

    Args:
        instance: the mosaic.
        position: (3,) its ImagePositionPatient.
        row: (3,) direction in which its column index grows.
        column: (3,) direction in which its row index grows.
        spacing: (between rows, between columns) in mm.

    Raises:
        GeometryError: the number of slices their direction or distance is not to be found.
    """
    header = instance.header
    private = _private_values(header)
    count, stated = private.get("NumberOfImagesInMosaic", 0), private.get("SliceNormalVector")
    step = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    if count < 1 or stated is None or not step or spacing is None:
        raise GeometryError(
            "a mosaic with its number of slices, their direction and distance, and PixelSpacing",
            f"{instance.path.name} without",
            "its private elements were removed: convert the original with dcm2niix",
        )
    across = int(np.ceil(np.sqrt(count)))
    rows, columns = int(header.Rows) // across, int(header.Columns) // across
    if rows * across != header.Rows or columns * across != header.Columns:
        return []
    between_rows, between_columns = spacing
    first = (
        position
        + row * between_columns * (int(header.Columns) - columns) / 2
        + column * between_rows * (int(header.Rows) - rows) / 2
    )
    normal = np.cross(row, column)
    if np.dot(stated, normal) < 0:
        normal = -normal
    found = []
    for k in range(count):
        y, x = divmod(k, across)
        part = slice(y * rows, (y + 1) * rows), slice(x * columns, (x + 1) * columns)
        found.append(Tile(part, first + k * float(step) * normal))
    return found


def _private_values(header: pydicom.Dataset) -> dict[str, Any]:
    """NumberOfImagesInMosaic and SliceNormalVector, as far as they are there."""
    found: dict[str, Any] = {}
    try:
        block = header.private_block(_MR_GROUP, _MR_MAKER)
        found["NumberOfImagesInMosaic"] = int(block[_SLICES_IN_MOSAIC].value)
    except (KeyError, TypeError, ValueError):
        pass
    try:
        raw = header.private_block(_CSA_GROUP, _CSA_MAKER)[_CSA_IMAGE].value
        csa = _csa_elements(bytes(raw))
        if count := csa.get("NumberOfImagesInMosaic"):
            found["NumberOfImagesInMosaic"] = int(count[0])
        if len(normal := csa.get("SliceNormalVector", ())) == 3:
            found["SliceNormalVector"] = np.array([float(v) for v in normal])
    except (KeyError, TypeError, ValueError, struct.error):
        pass
    return found


def _csa_elements(raw: bytes) -> dict[str, list[str]]:
    """Values by name of a CSA header ("SV10"): little endian, every value padded to 4 bytes.

    8 bytes, the number of elements and 4 bytes; then for each element a name of 64 bytes, 12 bytes,
    the number of its values and 4 bytes; then for each value 4 bytes, its length, 8 bytes, itself.
    """
    if raw[:4] != b"SV10":
        return {}
    (count,) = struct.unpack_from("<I", raw, 8)
    at = 16
    found: dict[str, list[str]] = {}
    for _ in range(min(count, 1000)):
        name = raw[at : at + 64].split(b"\0")[0].decode("latin-1")
        (values,) = struct.unpack_from("<i", raw, at + 76)
        at += 84
        texts = []
        for _ in range(min(values, 10_000)):
            (length,) = struct.unpack_from("<i", raw, at + 4)
            if not 0 <= length <= len(raw):
                return found
            texts.append(raw[at + 16 : at + 16 + length].split(b"\0")[0].decode("latin-1").strip())
            at += 16 + (length + 3) // 4 * 4
        found[name] = [text for text in texts if text]
    return found
