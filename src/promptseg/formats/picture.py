"""PNG, JPEG, TIFF, BMP and WebP through Pillow: 8 and 16 bit, float TIFF, grayscale and RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps

from promptseg.errors import InputError
from promptseg.formats.options import ReadOptions
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["read", "write"]

_GRAY_MODES = {"L", "I", "F", "I;16", "I;16B", "I;16L"}


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a picture of one page, turned as its EXIF orientation says.

    Raises:
        InputError: several pages, or more pixels than Pillow's safety limit.
    """
    source = Source(path, "picture")
    try:
        with PilImage.open(path) as picture:
            pages = getattr(picture, "n_frames", 1)
            if pages != 1 and picture.format != "MPO":  # MPO: a photograph and its preview
                raise InputError(
                    "a picture of one page", f"{path} with {pages} pages", "save the page alone"
                )
            if picture.getexif().get(0x0112, 1) != 1:
                source.notes.append("turned upright as the EXIF orientation says")
                turned = ImageOps.exif_transpose(picture)
            else:
                turned = picture
            voxels = _pixels(turned, source.notes)
    except PilImage.DecompressionBombError as error:
        raise InputError("a picture of a sane size", f"{path} ({error})", "crop it") from None
    return Image(voxels, Geometry.pixels(voxels.shape[:2]), source=source)


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write a grayscale picture of label ids or, with `layers` (TIFF), one 0/255 page per object."""
    if layers:
        pages = [PilImage.fromarray(layer * 255) for layer in segmentation.layers()]
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_deflate")
        return
    labels = PilImage.fromarray(segmentation.labels(later_wins=True))
    if path.suffix.lower() in (".tif", ".tiff"):
        labels.save(path, compression="tiff_deflate")
    else:
        labels.save(path)


def _pixels(picture: PilImage.Image, notes: list[str]) -> NDArray[Any]:
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode in _GRAY_MODES:
        pixels = np.array(picture)
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if picture.mode in ("LA", "La"):
        notes.append("transparency ignored")
        return np.array(picture.convert("L"))
    if picture.mode in ("RGBA", "RGBa", "PA") or "transparency" in picture.info:
        notes.append("transparency ignored")
    colour = np.array(
        picture.convert("RGBA").convert("RGB") if picture.mode == "PA" else picture.convert("RGB")
    )
    if (colour[..., 0] == colour[..., 1]).all() and (colour[..., 0] == colour[..., 2]).all():
        notes.append("stored as colour but gray: read as grayscale")
        return colour[..., 0].copy()
    return colour
