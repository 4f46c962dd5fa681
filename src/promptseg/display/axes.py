"""A shown slice in a frame ticked in voxel indices, as prompts count them.

A slice that is flipped for viewing has ticks that run backwards; one that is turned has its stored
columns down and its stored rows across. Reading a box off the ticks is thus reading it in the indices
of the array, whichever way the patient lay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from promptseg.display.slices import ShownSlice
from promptseg.geometry import Axis

__all__ = ["PLANE_AXES", "Scale", "Tick", "frame", "scales"]

PLANE_AXES: dict[Axis, tuple[str, str]] = {"z": ("x", "y"), "y": ("x", "z"), "x": ("y", "z")}
"""Axes of the columns and rows of the slices along each axis, in the order boxes are written."""

_LEFT, _TOP, _RIGHT, _BOTTOM = 42, 26, 12, 24  # margins of a frame, in pixels
_FONT = 11
_APART = 44  # pixels between two numbers, at least
_BACKGROUND, _INK, _NAME = (20, 20, 20), (200, 200, 200), (240, 228, 66)


class Tick(NamedTuple):
    """One tick.

    Attributes:
        voxel: its index.
        position: pixel of the picture, from its left or top, where the middle of that voxel lies.
        numbered: whether the index is written beside it.
    """

    voxel: int
    position: float
    numbered: bool


@dataclass(frozen=True)
class Scale:
    """The ticks along one side of a shown slice.

    Attributes:
        name: axis of the array, as prompts name it: x, y or z.
        backwards: whether indices grow to the left, or upwards.
        ticks: from left to right, or from top to bottom.
    """

    name: str
    backwards: bool
    ticks: tuple[Tick, ...]


def scales(shown: ShownSlice, axis: Axis = "z") -> tuple[Scale, Scale]:
    """Return the ticks across and down, at round voxel indices as `--box` takes them.

    Args:
        shown: the slice.
        axis: the axis it was taken along.
    """
    display = shown.display
    names = PLANE_AXES[axis][:: -1 if display.transpose else 1]
    left, top, right, bottom = shown.tile
    across, down = shown.scale
    rows, columns = shown.shape
    return (
        _scale(names[0], left, right, columns if display.flip_columns else None, across),
        _scale(names[1], top, bottom, rows if display.flip_rows else None, down),
    )


def _scale(name: str, first: int, last: int, flipped: int | None, pixels: float) -> Scale:
    """The ticks of the shown indices `first` to `last`; `flipped` is the length of a flipped axis."""
    step = next(
        n * 10**power for power in range(9) for n in (1, 2, 5) if n * 10**power * pixels >= _APART
    )
    between = max(1, step // 5)
    ticks = []
    for at in range(first, last + 1):
        index = at if flipped is None else flipped - 1 - at
        if index % between == 0:
            ticks.append(Tick(index, (at - first + 0.5) * pixels, index % step == 0))
    return Scale(name, flipped is not None, tuple(ticks))


def frame(shown: ShownSlice, panel: PilImage.Image, axis: Axis, title: str) -> PilImage.Image:
    """Draw voxel indices along all four sides of a panel.

    Args:
        shown: the slice the panel was drawn from.
        panel: the same picture, with what was drawn on it.
        axis: the axis the slice was taken along.
        title: what stands above it.
    """
    width, height = panel.size
    size = (width + _LEFT + _RIGHT, height + _TOP + _BOTTOM)
    page = PilImage.new("RGB", size, _BACKGROUND)
    page.paste(panel, (_LEFT, _TOP))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(_FONT)
    across, down = scales(shown, axis)
    for tick in across.ticks:
        x, length = _LEFT + tick.position, 6 if tick.numbered else 3
        draw.line([(x, _TOP + height), (x, _TOP + height + length)], fill=_INK)
        draw.line([(x, _TOP - length), (x, _TOP - 1)], fill=_INK)
        if tick.numbered:
            draw.text((x, _TOP + height + 7), str(tick.voxel), fill=_INK, font=font, anchor="mt")
    for tick in down.ticks:
        y, length = _TOP + tick.position, 6 if tick.numbered else 3
        draw.line([(_LEFT - length, y), (_LEFT - 1, y)], fill=_INK)
        draw.line([(_LEFT + width, y), (_LEFT + width + length, y)], fill=_INK)
        if tick.numbered:
            draw.text((_LEFT - 9, y), str(tick.voxel), fill=_INK, font=font, anchor="rm")
    _name(draw, across, (4, _TOP + height + 12), "across")
    _name(draw, down, (4, _TOP - 11), "down")
    draw.text((_LEFT, 1), title, fill="white", font=ImageFont.load_default(13))
    return page


def _name(draw: ImageDraw.ImageDraw, scale: Scale, xy: tuple[float, float], way: str) -> None:
    """The name of an axis, with an arrow the way its indices grow."""
    x, y = xy
    draw.text((x, y), scale.name, fill=_NAME, font=ImageFont.load_default(13), anchor="lm")
    x += 12
    if way == "across":
        start, tip = (x, x + 16)[:: -1 if scale.backwards else 1]
        back = 5 if scale.backwards else -5
        draw.line([(start, y), (tip, y)], fill=_NAME)
        draw.polygon([(tip, y), (tip + back, y - 3), (tip + back, y + 3)], fill=_NAME)
        return
    start, tip = (y - 7, y + 7)[:: -1 if scale.backwards else 1]
    back = 5 if scale.backwards else -5
    draw.line([(x, start), (x, tip)], fill=_NAME)
    draw.polygon([(x, tip), (x - 3, tip + back), (x + 3, tip + back)], fill=_NAME)
