"""Pictures as addresses that a page can hold."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["picture_address"]

_WIDEST = 480
_MOST_PIXELS = 1 << 26


def picture_address(picture: Path | NDArray[np.uint8]) -> str:
    """Return a picture as a `data:` address for the `src` of an <img>, at most 480 pixels wide and
    high.

    Args:
        picture: a file, or (rows, columns, 3) red, green and blue.

    Raises:
        OSError: the file is no picture.
        ValueError: it is too large to be one of ours.
    """
    from PIL import Image

    from promptseg.formats.pillow import open_with_pillow

    out = io.BytesIO()
    opened = (
        Image.fromarray(picture) if isinstance(picture, np.ndarray) else open_with_pillow(picture)
    )
    with opened as source:
        if source.width * source.height > _MOST_PIXELS:
            raise ValueError(f"{source.width} x {source.height} pixels")
        small = source.convert("RGB")
        small.thumbnail((_WIDEST, _WIDEST))
        small.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
