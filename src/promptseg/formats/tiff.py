"""What is particular to TIFF: types beyond Pillow, pages, and slides among them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.errors import InputError
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.quiet import quiet

# tifffile's log of what is wrong with a file is for those who ask for it, not for stderr
logging.getLogger("tifffile").addHandler(logging.NullHandler())

__all__ = ["holds_slide", "is_narrowed", "is_slide", "pages_to_read", "read_pages"]

_BITS, _SAMPLE_FORMAT, _TILE_WIDTH = 258, 339, 322
_SUBFILE_TYPE, _SUB_IFDS, _REDUCED = 254, 330, 1
_MIN_IS_WHITE = 0
_KINDS = {1: "u", 2: "i", 3: "f"}
_READ_AS = {"I": "i4", "F": "f4", "I;16": "u2", "I;16B": "u2", "I;16L": "u2", "I;16N": "u2"}


def pages_to_read(kinds: Sequence[Any], path: Path, options: ReadOptions) -> list[int]:
    """The page chosen, or all of them if they are alike and make a stack.

    Args:
        kinds: what has to be the same in all pages (size and type), one per page.
        path: for messages.
        options: `frame`.

    Raises:
        InputError: pages that differ and no choice.
    """
    if options.frame is None and len(set(kinds)) == 1:
        return list(range(len(kinds)))
    what = "pages" if len(set(kinds)) == 1 else "pages of different sizes or types"
    return [options.frame_of(len(kinds), path, what)]


def is_slide(picture: PilImage.Image, longest: int) -> bool:
    """Whether a picture is a TIFF in tiles, and larger than `longest` or with smaller versions."""
    tags = getattr(picture, "tag_v2", {})
    if _TILE_WIDTH not in tags:
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
    """`is_slide` for a TIFF that Pillow does not open (JPEG 2000 among them).

    Raises:
        InputError: the extra `pathology` is not installed.
    """
    with _opened(path) as file:
        first, *others = file.pages
        smaller = bool(first.subifds) or any(page.is_reduced for page in others)
        return bool(first.is_tiled) and (smaller or max(first.shape[:2]) > longest)


def is_narrowed(picture: PilImage.Image) -> bool:
    """Whether Pillow would cut the values of this page to a smaller or another type."""
    tags = getattr(picture, "tag_v2", {})
    bits, kind = max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (1,)))
    if kind not in _KINDS or bits not in (8, 16, 32, 64):  # 1, 2, 4 and 12 bits become 8 and 16
        return False
    return not np.can_cast(f"{_KINDS[kind]}{bits // 8}", _READ_AS.get(picture.mode, "u1"))


def read_pages(path: Path, options: ReadOptions, notes: list[str]) -> list[NDArray[Any]]:
    """Pages (y, x) or (y, x, 3) of any type through tifffile.

    Raises:
        InputError: the extra `pathology` is not installed, or pages as in `pages_to_read`.
    """
    with _opened(path) as file:
        pages = list(file.pages)
        kinds = [(page.shape, page.dtype, page.axes) for page in pages]
        chosen = pages_to_read(kinds, path, options)
        first: Any = pages[chosen[0]]
        require_memory((len(chosen), *first.shape), first.dtype.itemsize, path)
        return [_upright(pages[k], path, notes) for k in chosen]


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


def _upright(page: Any, path: Path, notes: list[str]) -> NDArray[Any]:
    """Pixels of a page, colours last, white the highest value."""
    with quiet():
        pixels = np.asarray(page.asarray())
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise InputError("a TIFF of pictures", f"{path} with axes {page.axes}")
    if page.photometric == _MIN_IS_WHITE and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.dtype.itemsize < 4 and pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[-1] in (2, 4):
        notes.append("transparency ignored")
    if pixels.shape[-1] not in (2, 3, 4):
        raise InputError("gray or RGB", f"{path} with {pixels.shape[-1]} values per pixel")
    return pixels[..., :3] if pixels.shape[-1] > 2 else pixels[..., 0]
