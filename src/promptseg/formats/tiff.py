"""Peculiarities of TIFF: types that Pillow does not read, pages, and slides among them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from promptseg.errors import InputError
from promptseg.formats.memory import require_memory
from promptseg.formats.options import PICK_ONE, ReadOptions
from promptseg.formats.pillow import open_with_pillow
from promptseg.formats.quiet import quiet
from promptseg.formats.tiff_axes import Chosen, Stated, Tags, choose, stated_axes
from promptseg.image import Kind
from promptseg.notes import Note

# tifffile's log of what is wrong with a file is for those who ask for it, not for stderr
logging.getLogger("tifffile").addHandler(logging.NullHandler())

__all__ = [
    "TURNED",
    "axes_in",
    "axes_of",
    "full_pages",
    "holds_slide",
    "is_narrowed",
    "is_slide",
    "kind_of",
    "pages_to_read",
    "read_pages",
    "upright",
]

_BITS, _SAMPLE_FORMAT, _TILE_WIDTH = 258, 339, 322
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION = 270, 282, 283
_SUBFILE_TYPE, _SUB_IFDS, _REDUCED = 254, 330, 1
_ORIENTATION = 274
TURNED = Note("turned upright as the EXIF orientation says", "turned")
_MIN_IS_WHITE = 0
_ANY_SIZE = 1 << 40
_KINDS = {1: "u", 2: "i", 3: "f"}
_READ_AS = {"I": "i4", "F": "f4", "I;16": "u2", "I;16B": "u2", "I;16L": "u2", "I;16N": "u2"}


def axes_of(picture: PilImage.Image, path: Path) -> Stated | None:
    """Return what an open TIFF says of its pages; None if it says nothing, or is no TIFF.

    Raises:
        InputError: see `promptseg.formats.tiff_axes.stated_axes`.
    """
    tags = getattr(picture, "tag_v2", None)
    if picture.format != "TIFF" or tags is None:
        return None
    text, found = str(tags.get(_DESCRIPTION, "")), _resolution(tags)
    return stated_axes(Tags(_decoded(text), found, getattr(picture, "n_frames", 1)), path)


def axes_in(path: Path) -> tuple[Stated | None, int]:
    """Return what a TIFF file says of its pages, and how many it has."""
    try:
        with open_with_pillow(path) as picture:
            return axes_of(picture, path), getattr(picture, "n_frames", 1)
    except UnidentifiedImageError:
        with _opened(path) as file:
            tags = Tags(file.pages[0].description or "", None, len(file.pages))
            return stated_axes(tags, path), tags.count


def kind_of(path: Path) -> Kind:
    """Tell whether a TIFF is read as a 2D image, a volume or a film, where no page is chosen."""
    stated, count = axes_in(path)
    if stated is not None:
        stack = stated.stack
        return "video" if stack == "T" else "volume" if stack else "picture"
    with contextlib.suppress(UnidentifiedImageError), open_with_pillow(path) as picture:
        if is_slide(picture, _ANY_SIZE):
            return "picture"
        count = len(full_pages(picture))
    return "volume" if count > 1 else "picture"


def pages_to_read(
    kinds: Sequence[Any], stated: Stated | None, path: Path, options: ReadOptions
) -> Chosen:
    """Choose the pages to read: the one asked for, or a stack, as the file says or as all are alike.

    Args:
        kinds: what has to be the same in all pages (size and type), one per page.
        stated: what the file says of its pages.
        path: for messages.
        options: `frame`.

    Raises:
        InputError: pages that differ, or channels or time points beside slices, and no choice.
    """
    if stated is not None:
        chosen = choose(stated, options, path)
        if len({kinds[k] for k in chosen.pages}) > 1:
            raise InputError("pages of one size and type in a stack", f"{path} with others")
        return chosen
    if options.frame is None and len(set(kinds)) == 1:
        count = len(kinds)
        text = f"{count} pages of one size: read as a volume in pixels"
        said = Note(text, advice=PICK_ONE)
        return Chosen(list(range(count)), "Z" if count > 1 else "", None, [said] * (count > 1))
    what = "pages" if len(set(kinds)) == 1 else "pages of different sizes or types"
    return Chosen([options.frame_of(len(kinds), path, what)])


def full_pages(picture: PilImage.Image) -> list[int]:
    """Return the numbers of the pages that are not smaller versions of others."""
    count, full = getattr(picture, "n_frames", 1), []
    for page in range(count):
        picture.seek(page)
        if not getattr(picture, "tag_v2", {}).get(_SUBFILE_TYPE, 0) & _REDUCED:
            full.append(page)
    picture.seek(0)
    return full


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels (y, x, ...) upright, by the orientation of EXIF and TIFF, 1 to 8."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def is_slide(picture: PilImage.Image, longest: int) -> bool:
    """Tell whether a 2D image is a TIFF in tiles, and larger than `longest` or with smaller versions.

    One that says it holds several slices, channels or time points is a stack of pages.
    """
    tags = getattr(picture, "tag_v2", {})
    if _TILE_WIDTH not in tags:
        return False
    stated = axes_of(picture, Path(str(getattr(picture, "filename", ""))))
    if stated is not None and stated.pages.size > 1:
        return False
    if max(picture.size) > longest or _SUB_IFDS in tags:
        return True
    reduced = False
    for page in range(1, getattr(picture, "n_frames", 1)):
        picture.seek(page)
        reduced |= bool(picture.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED)  # type: ignore[attr-defined]
    picture.seek(0)
    return reduced


def holds_slide(path: Path, longest: int) -> bool:
    """Tell what `is_slide` does of a TIFF that Pillow does not open (JPEG 2000 among them).

    Raises:
        InputError: the extra `pathology` is not installed.
    """
    with _opened(path) as file:
        first, *others = file.pages
        stated = stated_axes(Tags(first.description or "", None, len(file.pages)), path)
        if stated is not None and stated.pages.size > 1:
            return False
        smaller = bool(first.subifds) or any(page.is_reduced for page in others)
        return bool(first.is_tiled) and (smaller or max(first.shape[:2]) > longest)


def is_narrowed(picture: PilImage.Image) -> bool:
    """Tell whether Pillow would cut the values of this page to a smaller or another type."""
    tags = getattr(picture, "tag_v2", {})
    bits, kind = max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (1,)))
    if kind not in _KINDS or bits not in (8, 16, 32, 64):  # 1, 2, 4 and 12 bits become 8 and 16
        return False
    return not np.can_cast(f"{_KINDS[kind]}{bits // 8}", _READ_AS.get(picture.mode, "u1"))


def read_pages(
    path: Path, options: ReadOptions, stored: bool = False, given: list[int] | None = None
) -> tuple[list[NDArray[Any]], Chosen]:
    """Read pages (y, x) or (y, x, 3) of any type with tifffile; return them and why these.

    Args:
        path: the file.
        options: `frame`.
        stored: whether the stored numbers are wanted, white or not.
        given: pages that have been chosen already.

    Raises:
        InputError: the extra `pathology` is not installed, or pages as in `pages_to_read`.
    """
    with _opened(path) as file:
        pages = list(file.pages)
        found = _resolution({k: pages[0].tags.valueof(k) for k in (_X_RESOLUTION, _Y_RESOLUTION)})
        stated = stated_axes(Tags(pages[0].description or "", found, len(pages)), path)
        if stored and stated is None and given is None:
            pages = [page for page in pages if not page.is_reduced]
        kinds = [(page.shape, page.dtype, page.axes) for page in pages]
        chosen = Chosen(given) if given else pages_to_read(kinds, stated, path, options)
        first: Any = pages[chosen.pages[0]]
        if first.dtype is None:
            raise InputError("a TIFF of numbers", f"{path} of an unknown type", "check the file")
        require_memory((len(chosen.pages), *first.shape), first.dtype.itemsize, path)
        return [_pixels(pages[k], path, chosen.notes, stored) for k in chosen.pages], chosen


def _resolution(tags: Any) -> tuple[float, float] | None:
    """Pixels per unit along x and y, of two rational tags."""
    found = []
    for key in (_X_RESOLUTION, _Y_RESOLUTION):
        value = tags.get(key)
        try:
            number = value[0] / value[1] if isinstance(value, tuple) else float(value)
        except (TypeError, ValueError, ZeroDivisionError, IndexError):
            return None
        found.append(number)
    return (found[0], found[1]) if all(0 < n < 1e12 for n in found) else None


def _decoded(text: str) -> str:
    """Text that Pillow took for Latin-1, as the UTF-8 it mostly is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _opened(path: Path) -> Any:
    try:
        from tifffile import TiffFile
    except ImportError:
        raise InputError(
            "the extra pathology for this type of TIFF",
            f"{path} without it",
            "pip install 'promptseg[pathology]'",
        ) from None
    return TiffFile(path)


def _pixels(page: Any, path: Path, notes: list[str], stored: bool) -> NDArray[Any]:
    """Pixels of a page, upright, colours last, white the highest value."""
    with quiet():
        pixels = np.asarray(page.asarray())
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise InputError("a TIFF of 2D images", f"{path} with axes {page.axes}")
    if page.photometric == _MIN_IS_WHITE and pixels.dtype.kind == "u" and not stored:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.dtype.itemsize < 4 and pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    orientation = page.tags.valueof(_ORIENTATION)
    if orientation in range(2, 9):
        notes.append(TURNED)
        pixels = upright(pixels, int(orientation))
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[-1] in (2, 4):
        notes.append("transparency ignored")
    if pixels.shape[-1] not in (2, 3, 4):
        raise InputError("gray or RGB", f"{path} with {pixels.shape[-1]} values per pixel")
    return pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
