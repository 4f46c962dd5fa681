"""Coordinates from 0 to 1, as YOLO, MediaPipe and many a web tool give them: suspected aloud."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from promptseg.errors import PromptError
from promptseg.geometry import Axis, Geometry
from promptseg.prompts.checks import listed
from promptseg.prompts.markers import Marker
from promptseg.prompts.planar import Box, Box3D, Points

__all__ = ["suspect_normalised"]

log = logging.getLogger("promptseg")

_LARGE = 4  # pixels along a side: smaller images have little else than 0 and 1


def suspect_normalised(prompts: Iterable[object], geometry: Geometry, axis: Axis) -> None:
    """Refuse prompts that all lie within the first pixel by parts of a pixel.

    Nobody points there by parts of a pixel; whole numbers, which somebody may mean, are warned of.

    Args:
        prompts: of one image, in pixels.
        geometry: its grid.
        axis: the axis that slices are taken along.

    Raises:
        PromptError: all coordinates lie from 0 to 1, and one is not whole.
    """
    found = [value for prompt in prompts for value in _coordinates(prompt)]
    rows, columns = geometry.slice_shape(axis)
    if not found or min(rows, columns) <= _LARGE or not all(0 <= v <= 1 for v in found):
        return
    told = f"{listed(found[:6])}{',...' if found[6:] else ''}, all from 0 to 1"
    if any(v % 1 for v in found):
        raise PromptError(
            "coordinates in pixels of the image",
            f"{told}: normalised ones?",
            f"multiply x by {columns} and y by {rows}; the first pixel is 0,0",
        )
    if any(found):
        log.warning("the prompts are %s: if they are normalised, multiply them by the size", told)


def _coordinates(prompt: object) -> Iterator[float]:
    if isinstance(prompt, Box):
        yield from prompt.xyxy
    elif isinstance(prompt, Box3D):
        yield from prompt.bounds
    elif isinstance(prompt, Points):
        yield from (value for xy in prompt.xy for value in xy)
    elif isinstance(prompt, Marker):
        yield from (
            value for line in (prompt.long, prompt.short or ()) for xy in line for value in xy
        )
