"""Pictures of labels: the numbers that are stored, never the colours they are shown in.

A palette (Pascal VOC, DAVIS, Fiji's lookup tables) turns 1 into dark red, one bit turns it into white,
two and four bits are spread to 255 by most readers: for labels only the stored 1 counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.errors import LabelsError

__all__ = ["raw_mode", "refuse_loss", "stored_pixels"]

_GRAY = {"L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_SPREAD = {"L;2": 85, "L;4": 17}  # what Pillow multiplies gray of 2 and 4 bits by
_INVERTED = ("L;I", "L;IR", "L;2I", "L;2IR", "L;4I", "L;4IR")
_MOST_VALUES = 2


def stored_pixels(
    picture: PilImage.Image, raw: str, path: Path, notes: list[str]
) -> NDArray[Any] | None:
    """Return the numbers (y, x) as they are stored in one page; None where colours are stored.

    Of one bit, white is 1, whichever way round the file keeps its bits.

    Args:
        picture: at that page.
        raw: its `raw_mode`.
        path: for messages.
        notes: what is not looked at is added.

    Raises:
        LabelsError: labels that only the transparency tells apart.
    """
    if picture.mode == "1":
        return np.array(picture).astype(np.uint8)
    if picture.mode == "P":
        return np.array(picture)
    if picture.mode == "PA":
        return np.array(picture)[..., 0]
    if picture.mode in ("LA", "La"):
        both: NDArray[Any] = np.array(picture)
        gray, transparency = both[..., 0], both[..., 1]
        if gray.min() == gray.max() and transparency.min() < transparency.max():
            raise _only_transparency(path)
        notes.append("transparency ignored")
        return gray
    if picture.mode in ("RGBA", "RGBa"):
        pixels = np.array(picture)
        constant = (pixels[..., :3] == pixels[:1, :1, :3]).all()
        if constant and pixels[..., 3].min() < pixels[..., 3].max():
            raise _only_transparency(path)
        return None
    if picture.mode not in _GRAY:
        return None
    pixels = np.array(picture)
    if raw in _INVERTED:  # TIFF that says white is 0: Pillow shows it, the numbers are the others
        notes.append("white is 0 in this file: labels are the numbers it stores")
        pixels = 255 - pixels
    for start, factor in _SPREAD.items():
        if raw.startswith(start):
            return pixels // factor
    return pixels.astype(pixels.dtype.newbyteorder("="))


def refuse_loss(pixels: NDArray[Any], picture: PilImage.Image, path: Path) -> None:
    """Refuse labels that were compressed with loss, which mixes neighbouring numbers.

    Raises:
        LabelsError: more than two values in a JPEG, or in a WebP with loss.
    """
    lossy = picture.format in ("JPEG", "MPO") or (
        picture.format == "WEBP" and path.open("rb").read(16)[12:16] != b"VP8L"
    )
    values = np.unique(pixels) if lossy else np.empty(0)
    if len(values) > _MOST_VALUES:
        raise LabelsError(
            "labels stored without loss",
            f"{path}: {picture.format} with {len(values)} values from {values[0]} to {values[-1]}",
            "save them as PNG from the source, for the compression has mixed their numbers",
        )


def raw_mode(picture: Any) -> str:
    """Return Pillow's name for how the pixels of a file are stored, known until they are loaded."""
    for tile in getattr(picture, "tile", ()) or ():
        arguments = tile[3]
        mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
        return str(mode or "")
    return ""


def _only_transparency(path: Path) -> LabelsError:
    return LabelsError(
        "labels in the values of pixels",
        f"{path}: one colour, with the shape in its transparency",
        "save the labels as numbers",
    )
