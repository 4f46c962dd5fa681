"""MetaImage (.mha, .mhd) through SimpleITK, which keeps every digit of its geometry.

ITK believes a header and may crash on a damaged one, so its lists are counted before ITK sees it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from promptseg.errors import InputError
from promptseg.formats.checksums import Packed
from promptseg.formats.detached import HEADER_BYTES
from promptseg.formats.itk import masks_to_itk, read_itk
from promptseg.formats.options import ReadOptions
from promptseg.image import Image, Segmentation

__all__ = ["packed_in", "read", "write"]

_LINE = re.compile(r"^[ \t]*(\w+)[ \t]*[=:]([^\r\n]*)\r?$", re.M)
_MOST_DIMENSIONS, _MOST_CHANNELS = 5, 4096
_ONE_PER_AXIS = {
    *("dimsize", "offset", "position", "origin", "centerofrotation"),
    *("elementspacing", "elementsize"),
}
_MATRICES = {"transformmatrix", "rotation", "orientation"}
_VOXEL_SIZES = re.compile(rb"^[^\S\n]*Element(Spacing|Size)[^\S\n]*[=:]", re.M)
_COUNTS = {"ndims", "elementnumberofchannels", "headersize"}
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONGEST_TEXT, _LONGEST_LIST = 254, 480  # bytes that ITK has room for: it does not count them


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one frame of a MetaImage file; see `read_itk`."""
    image = read_itk(path, "metaimage", options, packed=packed_in(path))
    with path.open("rb") as stream:
        if not _VOXEL_SIZES.search(stream.read(HEADER_BYTES)):
            image.source.notes.append("no voxel sizes in the header: 1 mm taken")
    return image


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels or, with `layers`, one channel per object."""
    try:
        sitk.WriteImage(masks_to_itk(segmentation, layers), str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(0, str(error).splitlines()[-1].strip()) from error


def packed_in(path: Path) -> Packed | None:
    """Check a header and find its voxels; refused is what ITK would believe, or has no room for.

    Returns:
        Where the voxels are compressed; None if they are not, or in a way that is left to ITK.

    Raises:
        InputError: lists with another number of entries than the header has dimensions, sizes that are
            none, a field twice, or more text than fits.
    """
    with path.open("rb") as stream:
        text = stream.read(HEADER_BYTES).decode("latin-1")
    _check_lengths(text, path)
    fields: dict[str, list[float]] = {}
    words: dict[str, str] = {}
    end = 0
    for line in _LINE.finditer(text):
        name, value = line[1], line[2].strip(" \t")
        key = name.lower()
        words[key] = value
        if key == "elementdatafile":
            end = line.end() + 1
            break
        if key in _ONE_PER_AXIS | _MATRICES | _COUNTS:
            if key in fields:
                raise InputError(f"one field {name} in a MetaImage header", f"{path} with several")
            fields[key] = _numbers(value)
    counted = fields.get("ndims", [])
    dimensions = counted[0] if len(counted) == 1 else math.nan
    if dimensions not in range(2, _MOST_DIMENSIONS + 1) or "dimsize" not in fields:
        raise InputError("a MetaImage header with NDims of 2 or more and DimSize", str(path))
    for key, numbers in fields.items():
        power = 0 if key in _COUNTS else 2 if key in _MATRICES else 1
        if len(numbers) != dimensions**power or not all(map(math.isfinite, numbers)):
            raise InputError(
                f"{int(dimensions**power)} numbers for {key} in a MetaImage header",
                f"{path} with {len(numbers)}",
            )
    whole = fields["dimsize"] + fields.get("elementnumberofchannels", [1])
    if not all(n >= 1 and n == int(n) for n in whole) or whole[-1] > _MOST_CHANNELS:
        raise InputError("sizes of at least one voxel", f"{path} of {whole[:-1]}")
    return _packed(path, words, end)


def _packed(path: Path, words: dict[str, str], end: int) -> Packed | None:
    """The compressed stream that a header of these fields, which ends at `end`, is about."""
    kind = _TYPES.get(words.get("elementtype", ""))
    swapped = words.get("binarydatabyteordermsb", words.get("elementbyteordermsb", "False"))
    place, length = words.get("elementdatafile", ""), words.get("compresseddatasize", "")
    if words.get("compresseddata") != "True" or kind is None or swapped not in ("True", "False"):
        return None
    if words.get("binarydata", "True") != "True" or words.get("headersize", "0") != "0":
        return None
    own = place == "LOCAL"
    return Packed(
        path if own else path.parent / place,
        end if own else 0,
        int(length) if length.isdecimal() and int(length) else None,
        np.dtype((">" if swapped == "True" else "<") + kind),
    )


def _check_lengths(text: str, path: Path) -> None:
    """Refuse lines, names and values of a header that are longer than what ITK keeps them in."""
    for line in re.split(r"[\r\n]", text):
        name, _, value = (part.strip() for part in line.replace(":", "=").partition("="))
        key = name.lower()
        most = _LONGEST_LIST if key in _ONE_PER_AXIS | _MATRICES else _LONGEST_TEXT
        if len(value) > most or len(name) > _LONGEST_TEXT:
            shown = name[:40] or "a line"
            raise InputError(
                f"at most {most} bytes for {shown} in a MetaImage header",
                f"{path} with {max(len(value), len(name)):,}",
                "shorten it",
            )
        if key == "elementdatafile":
            return


def _numbers(value: str) -> list[float]:
    try:
        return [float(word) for word in value.split()]
    except ValueError:
        return []
