"""Whole slides: which files are slides, and how one is opened to be read in parts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from pathlib import Path

import pydicom
from PIL import UnidentifiedImageError
from pydicom.errors import InvalidDicomError

from promptseg.errors import InputError, PromptsegError
from promptseg.formats import tiff
from promptseg.formats.dicom.scan import choose_series
from promptseg.formats.dicom.tiled import TiledSlide, levels_of
from promptseg.formats.files import require_file
from promptseg.formats.pillow import open_with_pillow
from promptseg.formats.slide import LONGEST_SIDE, Slide

__all__ = ["identity", "is_dicom_slide", "is_tiff_slide", "open_slide"]

_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_SCANNERS = (".svs", ".ndpi")
_TIFF = (".tif", ".tiff")
_ENDS = 1 << 20


def is_tiff_slide(path: Path) -> bool:
    """Tell whether a file is a slide by its ending, or a TIFF in tiles, large or with smaller
    levels.
    """
    ending = path.suffix.lower()
    if ending in _SCANNERS:
        return True
    if ending not in _TIFF:
        return False
    try:
        with open_with_pillow(path) as picture:
            return tiff.is_slide(picture, LONGEST_SIDE)
    except UnidentifiedImageError:
        with contextlib.suppress(PromptsegError, OSError):
            return tiff.holds_slide(path, LONGEST_SIDE)
    except (PromptsegError, OSError):
        pass
    return False


def is_dicom_slide(path: Path) -> bool:
    """Tell whether a DICOM file says that it is a level of a whole slide."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except (OSError, InvalidDicomError, ValueError, KeyError, AttributeError, EOFError):
        return False
    return str(header.get("SOPClassUID", "")) == _SLIDE_CLASS


def open_slide(path: Path, series: str | None = None) -> Slide:
    """Open a whole slide: a file, or a folder with its levels in DICOM.

    Args:
        path: file or folder.
        series: of a folder with several; SeriesInstanceUID or its ending.

    Raises:
        InputError: no slide, or a damaged one.
    """
    if path.is_file() and path.suffix.lower() in (*_SCANNERS, *_TIFF):
        require_file(path, "a whole-slide image")
        return Slide(path)
    levels = levels_of(choose_series(path, series, []).instances)
    if not levels:
        raise InputError("a whole slide", f"{path.name}, which is none", "open it as an image")
    return Slide(path, TiledSlide(path, levels))


def identity(path: Path) -> str:
    """Return a hash that tells slides apart, made quickly of the sizes and both ends of the files."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    found = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        found.update(f"{size} ".encode())
        with file.open("rb") as stream:
            found.update(stream.read(_ENDS))
            stream.seek(max(0, size - _ENDS), os.SEEK_SET)
            found.update(stream.read(_ENDS))
    return found.hexdigest()
