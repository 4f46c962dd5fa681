"""Regions: the part of a slide that a model looks at to answer a prompt, and how finely."""

from __future__ import annotations

from math import ceil, floor, log2
from typing import NamedTuple

from promptseg.errors import PromptError
from promptseg.formats.slide import Region
from promptseg.slides.layer import Patch

__all__ = ["View", "patch_for", "zoom_count"]

_AROUND = 1.6  # sides of a region in those of the box in it
_LEAST_AROUND = 1.25
_SNAP = (
    8  # regions begin at multiples of an eighth of the model's input, so that they are met again
)
_TILE = 512

Box = tuple[float, float, float, float]


class View(NamedTuple):
    """The part of a slide that is in view, in pixels of the largest level.

    Attributes:
        x: of the left edge.
        y: of the upper edge.
        width: of what is seen.
        height: of what is seen.
        zoom: a pixel on the screen is about 2**zoom of the largest level.
    """

    x: float
    y: float
    width: float
    height: float
    zoom: int


def zoom_count(size: tuple[int, int]) -> int:
    """Return the number of zooms: 0 is the full resolution, at the last one all fits into one tile."""
    return max(1, 1 + ceil(log2(max(max(size) / _TILE, 1))))


def patch_for(box: Box, view: View, size: tuple[int, int], side: int) -> Patch:
    """Return the region that answers a prompt: the one in view, or one around the prompt.

    At the zoom of the view. A view that is more than twice as long as the model's input gives a region
    around the prompt, a box that would not fit a coarser zoom; a view of few pixels has more around it.

    Args:
        box: (x0, y0, x1, y1) around the prompt, in pixels of the largest level.
        view: what is looked at.
        size: (width, height) of the slide.
        side: of the model's input, in pixels.

    Raises:
        PromptError: a prompt beside the slide, or a view of nothing.
    """
    x0, y0, x1, y1 = box
    if not (x0 <= x1 and y0 <= y1 and x0 >= 0 and y0 >= 0 and x1 < size[0] and y1 < size[1]):
        raise PromptError(
            f"coordinates on the slide (x 0..{size[0] - 1}, y 0..{size[1] - 1})",
            ", ".join(f"{value:g}" for value in box),
            "correct it",
        )
    zoom = max(0, min(view.zoom, zoom_count(size) - 1))
    extent = max(x1 - x0, y1 - y0) + 1
    while _LEAST_AROUND * extent > 2 * side << zoom:
        zoom += 1
    limit = 2 * side << zoom
    left, top = max(0.0, view.x), max(0.0, view.y)
    right, bottom = (
        min(float(size[0]), view.x + view.width),
        min(float(size[1]), view.y + view.height),
    )
    holds = left <= x0 and top <= y0 and x1 < right and y1 < bottom
    if holds and side << zoom <= max(right - left, bottom - top) <= limit:
        return _snapped(left, top, right=right, bottom=bottom, zoom=zoom, size=size, snap=1)
    wanted = limit if extent <= 1 else min(limit, max(side << zoom, ceil(_AROUND * extent)))
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    half = wanted / 2
    snap = max(1, side // _SNAP)
    return _snapped(
        middle_x - half,
        middle_y - half,
        right=middle_x + half,
        bottom=middle_y + half,
        zoom=zoom,
        size=size,
        snap=snap,
    )


def _snapped(
    left: float,
    top: float,
    right: float,
    bottom: float,
    zoom: int,
    size: tuple[int, int],
    snap: int,
) -> Patch:
    """A patch of whole pixels, inside the slide: moved if it lies over its edge, smaller if it must."""
    step = 1 << zoom
    starts, lengths = [], []
    for low, high, whole in ((left, right, size[0]), (top, bottom, size[1])):
        most = max(whole // step, 1)
        length = min(max(1, round((high - low) / step)), most)
        start = floor(low / (step * snap)) * snap
        start = max(0, min(start, most - length))
        starts.append(start * step)
        lengths.append(min(length * step, whole - start * step))
    # a slide smaller than one pixel of its zoom keeps the full resolution
    if min(lengths) < step:
        return _snapped(left, top, right=right, bottom=bottom, zoom=zoom - 1, size=size, snap=snap)
    return Patch(Region(starts[0], starts[1], lengths[0], lengths[1]), zoom)
