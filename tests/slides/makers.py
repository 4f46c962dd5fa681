"""Slides of bright shapes on dark, and what polygons cover by a rule of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fakes import BrightPredictor
from formats.test_slide import write_pyramid
from promptseg.formats.whole_slide import open_slide
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.slides.session import SlideSession

SIZE = (3000, 2000)
OPTIONS = SegmentOptions(min_iou=0, min_area=0)


def shapes() -> NDArray[np.bool_]:
    """(y, x): a block, a ring with a hole, and a bar over most of the slide."""
    found = np.zeros(SIZE[::-1], bool)
    found[304:400, 400:640] = True
    found[800:1000, 1600:1800] = True
    found[864:936, 1664:1736] = False
    found[1504:1536, 96:2880] = True
    return found


def write_slide(path: Path, **how: Any) -> Path:
    """The shapes in colour, in three levels."""
    pixels = np.where(shapes(), 220, 30).astype(np.uint8)
    return write_pyramid(path, np.repeat(pixels[..., None], 3, axis=-1), **how)


def bright(card: str = "mobile-sam") -> Segmenter:
    return Segmenter(BrightPredictor(card=card))


def session_on(path: Path, card: str = "mobile-sam") -> SlideSession:
    return SlideSession(bright(card), open_slide(path), OPTIONS)


def covered(polygons: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre has an odd number of vertical edges to its left."""
    odd = np.zeros((shape[0], shape[1] + 1), bool)
    for polygon in polygons:
        for ring in polygon:
            for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
                assert x0 == x1 or y0 == y1
                if x0 == x1:
                    odd[min(y0, y1) : max(y0, y1), x0:] ^= True
    return odd[:, :-1]
