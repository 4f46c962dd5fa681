"""MetaImage (.mha, .mhd) through SimpleITK, which keeps every digit of its geometry.

ITK believes a header and may crash on a damaged one, so its lists are counted before ITK sees it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from promptseg.errors import InputError
from promptseg.formats.detached import HEADER_BYTES
from promptseg.formats.itk import masks_to_itk, read_itk
from promptseg.formats.options import ReadOptions
from promptseg.image import Image, Segmentation

__all__ = ["read", "write"]

_LINE = re.compile(r"^\s*(\w+)\s*[=:]\s*(.*?)\s*$", re.M)
_MOST_DIMENSIONS, _MOST_CHANNELS = 5, 4096
_ONE_PER_AXIS = {
    *("dimsize", "offset", "position", "origin", "centerofrotation"),
    *("elementspacing", "elementsize"),
}
_MATRICES = {"transformmatrix", "rotation", "orientation"}
_COUNTS = {"ndims", "elementnumberofchannels", "headersize"}


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one frame of a MetaImage file; see `read_itk`."""
    _check_header(path)
    return read_itk(path, "metaimage", options)


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels or, with `layers`, one channel per object."""
    try:
        sitk.WriteImage(masks_to_itk(segmentation, layers), str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(0, str(error).splitlines()[-1].strip()) from error


def _check_header(path: Path) -> None:
    """Refuse a header whose lists have not as many numbers as it has dimensions."""
    with path.open("rb") as stream:
        text = stream.read(HEADER_BYTES).decode("latin-1")
    fields: dict[str, list[float]] = {}
    for name, value in _LINE.findall(text):
        key = name.lower()
        if key == "elementdatafile":
            break
        if key in _ONE_PER_AXIS | _MATRICES | _COUNTS:
            if key in fields:
                raise InputError(f"one field {name} in a MetaImage header", f"{path} with several")
            fields[key] = _numbers(value)
    (dimensions,) = fields.get("ndims", []) or [math.nan]
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


def _numbers(value: str) -> list[float]:
    try:
        return [float(word) for word in value.split()]
    except ValueError:
        return []
