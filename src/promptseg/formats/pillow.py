"""Pictures opened by Pillow under our own limits instead of Pillow's.

Pillow refuses 2D images by a fixed number of pixels, in words about attacks that help nobody with a
slide, and warns on standard error from half of it. What counts here is whether a 2D image fits into
memory, which readers ask (`promptseg.formats.memory`) before they load the first pixel of it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image as PilImage
from PIL import PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401 - registers the last

from promptseg.formats.quiet import quiet

__all__ = ["open_with_pillow"]

_KINDS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "WEBP", "GIF")
"""Others run programs (EPS), or are not pictures of anything that is segmented here."""
_LONGEST_TEXT = 1 << 26  # bytes of a comment, unpacked

_lock = threading.Lock()
_users = 0
_limits: tuple[int | None, int] = (None, 0)


@contextmanager
def open_with_pillow(source: Path | IO[bytes]) -> Iterator[PilImage.Image]:
    """Open a 2D image without loading its pixels; nothing reaches standard error meanwhile.

    Raises:
        PIL.UnidentifiedImageError: no 2D image of a known kind.
        OSError: it cannot be read.
    """
    with _without_limits(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags, with a line of Pillow's source
        with PilImage.open(source, formats=_KINDS) as picture:
            yield picture


@contextmanager
def _without_limits() -> Iterator[None]:
    """Pillow's limits lifted while anyone is inside; they are global, and back afterwards."""
    global _users, _limits
    with _lock:
        if _users == 0:
            _limits = PilImage.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
            PilImage.MAX_IMAGE_PIXELS = None
            PngImagePlugin.MAX_TEXT_CHUNK = _LONGEST_TEXT
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                PilImage.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = _limits
