"""PNG, JPEG, TIFF, BMP and WebP through Pillow: 8 and 16 bit, float TIFF, grayscale and RGB.

What Pillow would narrow is read otherwise: 16-bit colour PNG by ITK, other TIFF types by tifffile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from promptseg.formats import label_pixels, slide, tiff
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.pillow import open_with_pillow
from promptseg.formats.tiff_axes import Chosen, description_of_layers
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source
from promptseg.notes import notes_of

__all__ = ["read", "read_labels", "stored_pages", "write"]

_GRAY_MODES = {"L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_TIFF_ENDINGS = (".tif", ".tiff")
_ORIENTATION = 0x0112


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a 2D image, turned as its EXIF orientation says; TIFF pages of one size make a volume.

    What a TIFF says of its pages and of the size of its pixels holds (`promptseg.formats.tiff_axes`):
    slices make a volume, time points a film, of channels one is taken. A large or pyramidal TIFF in
    tiles is a whole-slide image, see `slide.read`.

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
    try:
        with open_with_pillow(path) as picture:
            if options.frame is None and tiff.is_slide(picture, slide.LONGEST_SIDE):
                return slide.read(path, options)
            return _image(path, *_pages(picture, path, options))
    except UnidentifiedImageError:
        if path.suffix.lower() not in _TIFF_ENDINGS:
            raise
        if options.frame is None and tiff.holds_slide(path, slide.LONGEST_SIDE):
            return slide.read(path, options)
        return _image(path, *tiff.read_pages(path, options))


def read_labels(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a label image: the numbers that are stored, see `promptseg.formats.label_pixels`.

    Of a TIFF with smaller versions of itself the largest is read, whole. Colours stay colours.

    Raises:
        InputError: as `read`; labels stored with loss, or told apart by their transparency alone.
    """
    options = options or ReadOptions()
    try:
        with open_with_pillow(path) as picture:
            return _image(path, *_pages(picture, path, options, stored=True))
    except UnidentifiedImageError:
        if path.suffix.lower() not in _TIFF_ENDINGS:
            raise
        return _image(path, *tiff.read_pages(path, options, stored=True))


def stored_pages(path: Path, numbers: list[int]) -> list[NDArray[Any]]:
    """Read the given pages of a TIFF of labels, (y, x) each, with the numbers as they are stored."""
    try:
        with open_with_pillow(path) as picture:
            return _pages(picture, path, ReadOptions(), True, numbers)[0]
    except UnidentifiedImageError:
        return tiff.read_pages(path, ReadOptions(), True, numbers)[0]


def _image(path: Path, pages: list[NDArray[Any]], chosen: Chosen) -> Image:
    """Pages (y, x) or (y, x, 3) of one shape as a 2D image, a volume or a film."""
    source = Source(path, "picture", notes=chosen.notes)
    grid = pages[0].shape[:2] if len(pages) == 1 else (len(pages), *pages[0].shape[:2])
    voxels = pages[0] if len(pages) == 1 else np.stack(pages)
    if voxels.ndim > len(grid) and all((p[..., :1] == p).all() for p in pages):
        source.notes.append("stored as colour but gray: read as grayscale")
        voxels = voxels[..., 0].copy()
    source.notes[:] = dict.fromkeys(source.notes)  # pages repeat theirs
    turned = bool(notes_of(source.notes, "turned"))
    moving = chosen.stack == "T" and len(grid) == 3
    if chosen.spacing is None or moving:
        geometry = Geometry.pixels(grid)
    else:
        x, y, z = chosen.spacing
        sides = (y, x) if turned and pages[0].shape[:1] != pages[0].shape[1:2] else (x, y)
        geometry = Geometry.from_spacing(grid, (*sides, z))
    return Image(voxels, geometry, source=source, video=moving)


def _pages(
    picture: PilImage.Image,
    path: Path,
    options: ReadOptions,
    stored: bool = False,
    given: list[int] | None = None,
) -> tuple[list[NDArray[Any]], Chosen]:
    """The pages to read, (y, x) or (y, x, 3) each, all of one shape and type; and why these.

    Args:
        picture: the open file.
        path: of it.
        options: `frame`.
        stored: whether stored numbers are wanted in place of colours.
        given: pages that have been chosen already.
    """
    count = getattr(picture, "n_frames", 1)
    if picture.format == "MPO":  # a photograph and its preview
        count = 1
    if picture.format == "TIFF":
        stated = tiff.axes_of(picture, path)
        there = tiff.full_pages(picture) if stored and stated is None else list(range(count))
        kinds = []
        for page in there:
            picture.seek(page)
            kinds.append((picture.size, picture.mode))
            if tiff.is_narrowed(picture):
                return tiff.read_pages(path, options, stored, given)
        if given is not None:
            chosen, numbers = Chosen(given), given
        else:
            chosen = tiff.pages_to_read(kinds, stated, path, options)
            numbers = [there[k] for k in chosen.pages]
    else:
        chosen = Chosen([options.frame_of(count, path)])
        numbers = chosen.pages
    require_memory((len(numbers), *picture.size, len(picture.getbands())), 4, path)
    pages = []
    for page in numbers:
        if count > 1:
            picture.seek(page)
        wide = _is_wide_png(picture)  # before EXIF is asked for, which loads the pixels
        raw = label_pixels.raw_mode(picture)
        said = _orientation_tag(picture) if picture.format == "TIFF" else 0
        if said > 4:  # mapped into memory, Pillow reads it with rows and columns exchanged
            picture.filename = ""  # type: ignore[attr-defined]
        picture.load()
        pixels = label_pixels.stored_pixels(picture, raw, path, chosen.notes) if stored else None
        if pixels is None:
            pixels = _wide_png(path) if wide else _pixels(picture, chosen.notes)
        if stored:
            label_pixels.refuse_loss(pixels, picture, path)
        if (orientation := said or _orientation(picture, chosen.notes)) != 1:
            chosen.notes.append(tiff.TURNED)
        if orientation != 1 and not said:  # a TIFF Pillow has turned while loading it
            pixels = np.ascontiguousarray(tiff.upright(pixels, orientation))
        pages.append(pixels)
    return pages, chosen


def _orientation(picture: PilImage.Image, notes: list[str]) -> int:
    """EXIF's orientation, from 1 to 8; 1 where there is none or none that can be read."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # a damaged block beside the pixels: Pillow raises anything
        notes.append(f"EXIF that cannot be read ({type(error).__name__}) was left aside")
        return 1
    return int(found) if found in range(1, 9) else 1


def _orientation_tag(picture: Any) -> int:
    found = picture.tag_v2.get(_ORIENTATION, 1)
    return int(found) if found in range(1, 9) else 1


def _is_wide_png(picture: Any) -> bool:
    """Whether a 2D image is a PNG of 16 bits per colour, of which Pillow keeps 8."""
    stored_as = {str(tile[3]) for tile in picture.tile}
    return picture.format == "PNG" and bool(stored_as & {"RGB;16B", "RGBA;16B"})


def _wide_png(path: Path) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    picture = sitk.ReadImage(str(path), imageIO="PNGImageIO")
    return np.asarray(sitk.GetArrayFromImage(picture)[..., :3])


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write a grayscale image of label ids or, with `layers` (TIFF), one 0/255 page per object.

    The description of the first page says that pages are objects, and their names.
    """
    if layers:
        pages = [PilImage.fromarray(layer * 255) for layer in segmentation.layers()]
        said = description_of_layers([(s.label, s.name) for s in segmentation.segments])
        pages[0].save(
            path,
            save_all=True,
            append_images=pages[1:],
            compression="tiff_deflate",
            description=said,
        )
        return
    labels = PilImage.fromarray(segmentation.labels(later_wins=True))
    if path.suffix.lower() in _TIFF_ENDINGS:
        labels.save(path, compression="tiff_deflate")
    else:
        labels.save(path)


def _pixels(picture: PilImage.Image, notes: list[str]) -> NDArray[Any]:
    """The pixels of one page, (y, x) or (y, x, 3)."""
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
