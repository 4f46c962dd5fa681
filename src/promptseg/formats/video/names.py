"""Folders of numbered images: which are the frames of one video, and in what order."""

from __future__ import annotations

import re
from pathlib import Path

from promptseg.errors import InputError
from promptseg.formats.table import format_by_suffix

__all__ = ["holds_images", "numbered_images"]

_PICTURES = frozenset({"png", "picture", "tiff"})
_DIGITS = re.compile(r"(\d+)")


def holds_images(folder: Path) -> bool:
    """Tell whether a folder has a 2D image directly in it."""
    try:
        return any(map(_is_picture, folder.iterdir()))
    except OSError:
        return False


def numbered_images(folder: Path) -> list[Path]:
    """Return the 2D images of a folder in the order of their numbers: 2 before 10.

    Raises:
        InputError: a 2D image without a number, names that differ in more than numbers, the same number
            twice, or no 2D image at all.
    """
    found: dict[tuple[int, ...], Path] = {}
    texts: dict[tuple[str, ...], Path] = {}
    for path in sorted(filter(_is_picture, folder.iterdir())):
        parts = _DIGITS.split(path.stem)
        numbers = tuple(int(digits) for digits in parts[1::2])
        text = tuple(parts[::2])
        if not numbers:
            raise InputError(
                "numbered images as the frames of a video",
                f"{path}, without a number",
                "number it, or move it away",
            )
        if texts and text not in texts:
            other = next(iter(texts.values()))
            raise InputError(
                "pictures whose names differ in their numbers alone as the frames of a video",
                f"{other.name} and {path.name} in {folder}",
                "put every video into a folder of its own",
            )
        if numbers in found:
            raise InputError(
                "frames with a number of their own",
                f"{found[numbers].name} and {path.name} in {folder}",
                "move one away",
            )
        found[numbers] = texts.setdefault(text, path) and path
    if not found:
        raise InputError("a folder of numbered images", f"{folder}: none", "name another folder")
    return [found[numbers] for numbers in sorted(found)]


def _is_picture(path: Path) -> bool:
    known = format_by_suffix(path)
    return (
        known is not None
        and known.name in _PICTURES
        and not path.name.startswith(".")
        and path.is_file()
    )
