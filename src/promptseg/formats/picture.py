"""PNG, JPEG, TIFF, BMP and WebP through Pillow: 8 and 16 bit, float TIFF, grayscale and RGB.

What Pillow would narrow is read otherwise: 16-bit colour PNG by ITK, other TIFF types by tifffile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError

from promptseg.formats import slide, tiff
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.pillow import open_picture
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["read", "write"]

_GRAY_MODES = {"L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_TIFF_ENDINGS = (".tif", ".tiff")
_ORIENTATION = 0x0112


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a picture, turned as its EXIF orientation says; TIFF pages of one size make a volume.

    A large or pyramidal TIFF in tiles is a whole-slide image, see `slide.read`.

    Args:
        path: the file.
        options: `frame` picks a page of a TIFF or a frame of an animation; `region` and `microns` a
            part of a slide.

    Raises:
        InputError: several pages that differ, several frames and no choice, or more pixels than fit
            into memory.
    """
    options = options or ReadOptions()
    if options.region is not None or options.microns is not None:
        return slide.read(path, options)
    source = Source(path, "picture")
    try:
        with open_picture(path) as picture:
            if options.frame is None and tiff.is_slide(picture, slide.LONGEST_SIDE):
                return slide.read(path, options)
            pages = _pages(picture, path, options, source.notes)
    except UnidentifiedImageError:
        if path.suffix.lower() not in _TIFF_ENDINGS:
            raise
        if options.frame is None and tiff.holds_slide(path, slide.LONGEST_SIDE):
            return slide.read(path, options)
        pages = tiff.read_pages(path, options, source.notes)
    grid = pages[0].shape[:2] if len(pages) == 1 else (len(pages), *pages[0].shape[:2])
    if len(pages) > 1:
        source.notes.append(
            f"{len(pages)} pages of one size: read as a volume in pixels; --frame picks one"
        )
    voxels = pages[0] if len(pages) == 1 else np.stack(pages)
    if voxels.ndim > len(grid) and all((p[..., :1] == p).all() for p in pages):
        source.notes.append("stored as colour but gray: read as grayscale")
        voxels = voxels[..., 0].copy()
    source.notes[:] = dict.fromkeys(source.notes)  # pages repeat theirs
    return Image(voxels, Geometry.pixels(grid), source=source)


def _pages(
    picture: PilImage.Image, path: Path, options: ReadOptions, notes: list[str]
) -> list[NDArray[Any]]:
    """The pages to read, (y, x) or (y, x, 3) each, all of one shape and type."""
    count = getattr(picture, "n_frames", 1)
    if picture.format == "MPO":  # a photograph and its preview
        count = 1
    if picture.format == "TIFF":
        kinds = []
        for page in range(count):
            picture.seek(page)
            kinds.append((picture.size, picture.mode))
            if tiff.is_narrowed(picture):
                return tiff.read_pages(path, options, notes)
        chosen = tiff.pages_to_read(kinds, path, options)
    else:
        chosen = [options.frame_of(count, path)]
    require_memory((len(chosen), *picture.size, len(picture.getbands())), 4, path)
    pages = []
    for page in chosen:
        if count > 1:
            picture.seek(page)
        wide = _is_wide_png(picture)  # before EXIF is asked for, which loads the pixels
        if picture.getexif().get(_ORIENTATION, 1) != 1:
            notes.append("turned upright as the EXIF orientation says")
            pages.append(_pixels(ImageOps.exif_transpose(picture), notes))
        else:
            pages.append(_wide_png(path) if wide else _pixels(picture, notes))
    return pages


def _is_wide_png(picture: Any) -> bool:
    """Whether a picture is a PNG of 16 bits per colour, of which Pillow keeps 8."""
    stored_as = {str(tile[3]) for tile in picture.tile}
    return picture.format == "PNG" and bool(stored_as & {"RGB;16B", "RGBA;16B"})


def _wide_png(path: Path) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    picture = sitk.ReadImage(str(path), imageIO="PNGImageIO")
    return np.asarray(sitk.GetArrayFromImage(picture)[..., :3])


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write a grayscale picture of label ids or, with `layers` (TIFF), one 0/255 page per object."""
    if layers:
        pages = [PilImage.fromarray(layer * 255) for layer in segmentation.layers()]
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_deflate")
        return
    labels = PilImage.fromarray(segmentation.labels(later_wins=True))
    if path.suffix.lower() in _TIFF_ENDINGS:
        labels.save(path, compression="tiff_deflate")
    else:
        labels.save(path)


def _pixels(picture: PilImage.Image, notes: list[str]) -> NDArray[Any]:
    """(y, x) or (y, x, 3) of one page."""
    if picture.mode == "1":
        picture = picture.convert("L")
    if picture.mode in _GRAY_MODES:
        pixels = np.array(picture)
        return pixels.astype(pixels.dtype.newbyteorder("="))
    if picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        notes.append("transparency ignored")
    if picture.mode in ("LA", "La"):
        return np.array(picture.convert("L"))
    if picture.mode == "PA":
        picture = picture.convert("RGBA")
    return np.array(picture.convert("RGB"))
