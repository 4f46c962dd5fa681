"""Tiles of a slide as pictures for the screen: made from the level that fits, kept within bounds."""

from __future__ import annotations

import io
from collections import OrderedDict
from itertools import pairwise
from math import ceil
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.errors import InputError
from promptseg.formats.slide import Region, Slide
from promptseg.serve.refusals import AbsentError
from promptseg.slides.regions import zoom_count

__all__ = ["TILE", "Tiles"]

TILE = 512
"""Pixels along each side of a tile; those at the right and lower edge are smaller."""

_QUALITY = 88
_KEPT_BYTES = 64 << 20
_LARGEST_LEAST = 8192  # pixels along the longer side of the smallest level
_MOST_BETWEEN = 16  # how much smaller one level may be than the one before it
_SHOWN = (0.5, 99.5)  # percentiles of values that are black and white, beyond 8 bits


class Tiles:
    """The pyramid of a slide for the screen; for any threads.

    Args:
        slide: the slide.
        lock: held while it is read.

    Raises:
        InputError: a slide without smaller levels, of which an overview would need all of it in memory.
    """

    def __init__(self, slide: Slide, lock: Lock) -> None:
        levels = [max(level) for level in slide.levels]
        between = max((a / b for a, b in pairwise(levels)), default=1)
        if levels[-1] > _LARGEST_LEAST or between > _MOST_BETWEEN:
            raise InputError(
                f"a slide with smaller levels, the smallest of at most {_LARGEST_LEAST} pixels, each "
                f"at least a {_MOST_BETWEEN}th of the one before it",
                "levels of " + ", ".join(f"{w} x {h}" for w, h in slide.levels[:8]),
                "write it as a pyramid, for example with vips tiffsave --tile --pyramid",
            )
        self.slide, self._lock = slide, lock
        self.zooms = zoom_count(slide.size)
        self._kept: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._bytes, self._keeping = 0, Lock()
        self._range: tuple[float, float] | None = None
        self.tile(self.zooms - 1, 0, 0)  # a damaged slide is refused at once

    @property
    def nbytes(self) -> int:
        """Return the bytes of the tiles that are kept."""
        return self._bytes

    def tile(self, zoom: int, column: int, row: int) -> bytes:
        """Return one tile as JPEG; its pixels are 2**zoom of the slide's along each side.

        Raises:
            AbsentError: there is none.
        """
        key = (zoom, column, row)
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if not 0 <= zoom < self.zooms:
            raise AbsentError(f"a zoom from 0 to {self.zooms - 1}", str(zoom))
        step, (width, height) = 1 << zoom, self.slide.size
        x, y = column * TILE * step, row * TILE * step
        if not (0 <= x < width and 0 <= y < height):
            raise AbsentError("a tile of the slide", f"column {column} and row {row}")
        region = Region(x, y, min(TILE * step, width - x), min(TILE * step, height - y))
        size = (ceil(region.width / step), ceil(region.height / step))
        content = self._picture(region, size)
        with self._keeping:
            if key not in self._kept:
                self._kept[key] = content
                self._bytes += len(content)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return content

    def _picture(self, region: Region, size: tuple[int, int]) -> bytes:
        with self._lock:
            pixels = self.slide.pixels(region, size)
        out = io.BytesIO()
        PilImage.fromarray(self._shown(pixels)).save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()

    def _shown(self, pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Values as 8 bits; those beyond are scaled alike on all of the slide."""
        if pixels.dtype == np.uint8:
            return pixels.view(np.uint8)
        if self._range is None:
            step = 1 << (self.zooms - 1)
            width, height = (max(1, n // step) for n in self.slide.size)
            with self._lock:
                overview = self.slide.pixels(Region(0, 0, *self.slide.size), (width, height))
            low, high = np.percentile(overview, _SHOWN)
            self._range = float(low), float(max(high, low + 1e-6))
        low, high = self._range
        scaled = (pixels.astype(np.float32) - low) * (255 / (high - low))
        return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)
