"""Slices as radiologists look at them: turned, in true proportions, with the patient's sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from promptseg.geometry import Axis, Geometry, opposite
from promptseg.image import Image
from promptseg.intensity import Intensity

__all__ = [
    "Display",
    "ShownSlice",
    "display_of",
    "letter_sides",
    "scale_bar",
    "sheet",
    "show_mask",
    "show_slice",
    "sides_in_words",
    "write",
]

_GAP = 6
_LINE = 20
_COUNTABLE = 8  # pixels per voxel from which voxels are drawn as squares
_LONGEST_BAR = 0.28  # of the width of a slice
_STANDARD = {"L": "L", "R": "L", "A": "P", "P": "P", "S": "I", "I": "I"}
_RANK = {"L": 0, "R": 0, "A": 1, "P": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Display:
    """The way a slice is turned for viewing: transposed first, then flipped.

    Attributes:
        transpose: whether rows and columns change place.
        flip_rows: whether the first row shown is the last one stored.
        flip_columns: likewise for columns.
        letters: sides at the left, right, top and bottom of the shown slice; empty if unknown.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    letters: tuple[str, str, str, str] = ("", "", "", "")

    def turn(self, slice_: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a stored (rows, columns[, 3]) slice into how it is shown."""
        if self.transpose:
            slice_ = slice_.swapaxes(0, 1)
        return slice_[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def turn_xy(self, x: float, y: float, shape: tuple[int, int]) -> tuple[float, float]:
        """Map a stored pixel index to the shown one; `shape` is (rows, columns) as shown."""
        if self.transpose:
            x, y = y, x
        if self.flip_columns:
            x = shape[1] - 1 - x
        if self.flip_rows:
            y = shape[0] - 1 - y
        return x, y


def display_of(geometry: Geometry, axis: Axis = "z") -> Display:
    """Choose radiological display: patient's right on the left, front or head at the top.

    Axial slices are seen from the feet, coronal ones from the front, sagittal ones from the left
    (front on the left). Grids without millimetres are shown as stored.
    """
    if geometry.unit != "mm" or geometry.ndim == 2:
        return Display()
    letters_of = dict(zip("xyz", geometry.orientation, strict=True))
    columns, rows = (letters_of[a] for a in {"z": "xy", "y": "xz", "x": "yz"}[axis])
    transpose = _RANK[columns] > _RANK[rows]
    if transpose:
        columns, rows = rows, columns
    flip_columns, flip_rows = columns != _STANDARD[columns], rows != _STANDARD[rows]
    right, bottom = _STANDARD[columns], _STANDARD[rows]
    letters = (opposite(right), right, opposite(bottom), bottom)
    return Display(transpose, flip_rows, flip_columns, letters)


@dataclass(frozen=True)
class ShownSlice:
    """A slice, or a tile of it, drawn for viewing.

    Attributes:
        picture: RGB, without letters.
        display: how the slice is turned.
        shape: (rows, columns) of the whole slice as it is turned.
        tile: (left, top, right, bottom) of the part that is drawn, in shown pixel indices, both ends
            inside.
        steps: distance of neighbouring columns and rows as they are shown.
        unit: of the steps, "mm" or "px".
    """

    picture: PilImage.Image
    display: Display
    shape: tuple[int, int]
    tile: tuple[int, int, int, int]
    steps: tuple[float, float]
    unit: str

    @property
    def scale(self) -> tuple[float, float]:
        """Return how many pixels of the shown image a column and a row of the slice take."""
        left, top, right, bottom = self.tile
        return self.picture.width / (right - left + 1), self.picture.height / (bottom - top + 1)

    def centre(self, x: float, y: float) -> tuple[float, float]:
        """Map a stored pixel index to the middle of that pixel on the shown image."""
        column, row = self.display.turn_xy(x, y, self.shape)
        across, down = self.scale
        return (column - self.tile[0] + 0.5) * across, (row - self.tile[1] + 0.5) * down

    def outline(self, xyxy: Sequence[float]) -> tuple[float, float, float, float]:
        """Map a stored box, both ends inside, to the left, top, right and bottom edge of its pixels."""
        corners = [self.centre(*xyxy[:2]), self.centre(*xyxy[2:])]
        (left, right), (top, bottom) = (sorted(v) for v in zip(*corners, strict=True))
        across, down = self.scale
        left, top = left - across / 2, top - down / 2
        return left, top, max(left, right + across / 2 - 1), max(top, bottom + down / 2 - 1)


def show_slice(
    image: Image,
    intensity: Intensity,
    axis: Axis,
    index: int,
    size: int | None,
    tile: tuple[int, int, int, int] | None = None,
    countable: bool = False,
) -> ShownSlice:
    """Draw one slice as radiologists look at it, in its true proportions.

    Args:
        image: a 2D image, volume or video.
        intensity: how its values are shown.
        axis: axis of the slices.
        index: which slice; 0 for a 2D image.
        size: length of the longer side in pixels; None for at least one pixel per voxel.
        tile: XYXY of the part to draw, in stored pixel indices of the slice, both ends inside; the
            whole slice if not given.
        countable: far enlarged, voxels keep their edges, so that they can be counted.
    """
    display = display_of(image.geometry, axis)
    turned = display.turn(intensity.apply(image.slice(index, axis)))
    rows, columns = turned.shape[:2]
    left, top, right, bottom = 0, 0, columns - 1, rows - 1
    if tile is not None:
        corners = [
            display.turn_xy(*tile[:2], (rows, columns)),
            display.turn_xy(*tile[2:], (rows, columns)),
        ]
        (left, right), (top, bottom) = (sorted(map(int, v)) for v in zip(*corners, strict=True))
    part = turned[top : bottom + 1, left : right + 1]
    in_plane = image.geometry.in_plane("z" if image.kind == "picture" else axis)
    step_x, step_y = np.linalg.norm(in_plane, axis=0)[:: -1 if display.transpose else 1]
    extent_x, extent_y = part.shape[1] * step_x, part.shape[0] * step_y
    scale = 1 / min(step_x, step_y) if size is None else size / max(extent_x, extent_y)
    width, height = max(1, round(extent_x * scale)), max(1, round(extent_y * scale))
    picture = PilImage.fromarray(np.ascontiguousarray(part)).convert("RGB")
    enlarged = countable and min(width / part.shape[1], height / part.shape[0]) >= _COUNTABLE
    how = PilImage.Resampling.NEAREST if enlarged else PilImage.Resampling.BICUBIC
    return ShownSlice(
        picture=picture.resize((width, height), how),
        display=display,
        shape=(rows, columns),
        tile=(left, top, right, bottom),
        steps=(float(step_x), float(step_y)),
        unit="mm" if image.geometry.unit == "mm" else "px",
    )


def show_mask(
    mask: NDArray[np.bool_],
    display: Display,
    size: tuple[int, int],
    tile: tuple[int, int, int, int] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return inside and edge of a mask, turned and scaled as the shown slice is.

    Args:
        mask: (rows, columns) as stored, of the whole slice.
        display: how the slice is turned.
        size: (width, height) of the shown slice, or tile, in pixels.
        tile: (left, top, right, bottom) of the part that is drawn, as `ShownSlice.tile` has it.

    Returns:
        Its inside and its edge, two pixels wide; (height, width) boolean each.
    """
    from scipy import ndimage

    turned = display.turn(mask.astype(np.uint8))
    if tile is not None:
        left, top, right, bottom = tile
        turned = turned[top : bottom + 1, left : right + 1]
    picture = PilImage.fromarray(np.ascontiguousarray(turned) * np.uint8(255))
    inside = np.asarray(picture.resize(size)) > 127
    return inside, inside & ~ndimage.binary_erosion(inside, iterations=2)


def letter_sides(draw: ImageDraw.ImageDraw, display: Display, width: int, height: int) -> None:
    """Write the patient's sides at the edges of a shown slice of `width` x `height` pixels."""
    left, right, top, bottom = display.letters
    write(draw, (4, height / 2 - 9), left)
    write(draw, (width - 15, height / 2 - 9), right)
    write(draw, (width / 2 - 6, 2), top)
    write(draw, (width / 2 - 6, height - _LINE), bottom)


def scale_bar(draw: ImageDraw.ImageDraw, shown: ShownSlice) -> None:
    """Draw a bar of a round length at the lower left, with its length in millimetres or pixels."""
    width, height = shown.picture.size
    per_unit = shown.scale[0] / shown.steps[0]  # pixels of the 2D image
    most = width * _LONGEST_BAR / per_unit
    power = 10.0 ** math.floor(math.log10(most))
    length = next(n * power for n in (5, 2, 1) if n * power <= most)
    x, y = 8, height - 8
    end = x + length * per_unit
    draw.rectangle((x - 2, y - 3, end + 2, y + 3), fill="black")
    draw.rectangle((x, y - 1, end, y + 1), fill="white")
    write(draw, (x, y - 21), f"{length:g} {shown.unit}")


def sides_in_words(image: Image, display: Display) -> str:
    """Tell which side is where, for a caption."""
    if display.letters[0]:
        return f"radiological display ({display.letters[0]} on the left)"
    return "displayed as stored" + ("" if image.kind == "picture" else ", sides unknown")


def sheet(
    panels: list[PilImage.Image],
    legend: list[tuple[str, tuple[int, int, int]]],
    caption: str,
    columns: int = 3,
) -> PilImage.Image:
    """Draw panels side by side in rows, with lines of text below.

    Args:
        panels: the slices.
        legend: lines with the colours they explain.
        caption: the last lines.
        columns: panels in a row.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    page_width = max(columns * (width + _GAP) + _GAP, 620)
    text_top = rows * (height + _GAP) + _GAP
    lines = len(legend) + len(caption.splitlines())
    page = PilImage.new("RGB", (page_width, text_top + _LINE * lines + _GAP), (20, 20, 20))
    for k, panel in enumerate(panels):
        x = _GAP + (k % columns) * (width + _GAP) + (width - panel.width) // 2
        y = _GAP + (k // columns) * (height + _GAP) + (height - panel.height) // 2
        page.paste(panel, (x, y))
    draw = ImageDraw.Draw(page)
    for k, (line, colour) in enumerate(legend):
        y = text_top + k * _LINE
        draw.rectangle([_GAP, y + 4, _GAP + 11, y + 15], fill=colour)
        write(draw, (_GAP + 18, y), line)
    for k, line in enumerate(caption.splitlines(), len(legend)):
        write(draw, (_GAP, text_top + k * _LINE), line)
    return page


def write(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: int = 14) -> None:
    """Write white letters with a black edge, readable on any 2D image."""
    font = ImageFont.load_default(size)
    draw.text(xy, text, fill="white", font=font, stroke_width=1, stroke_fill="black")
