"""The picture that goes beside every mask: what was prompted, what came out, which side is which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from promptseg.formats.colours import COLOURS
from promptseg.geometry import Axis, Geometry, axis_position, opposite
from promptseg.image import Image, Segmentation
from promptseg.intensity import Intensity
from promptseg.prompts import Box, Box3D, Marker, PlacedPrompt, Points

__all__ = ["COLOURS", "Display", "display_of", "overlay_picture"]

_PANELS = 9
_PANEL_SIZE = 380
_PICTURE_SIZE = 1024
_GAP = 6
_LINE = 20
_STANDARD = {"L": "L", "R": "L", "A": "P", "P": "P", "S": "I", "I": "I"}
_RANK = {"L": 0, "R": 0, "A": 1, "P": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Display:
    """How a slice is turned for viewing: transposed first, then flipped.

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
        """(rows, columns[, 3]) as stored -> as shown."""
        if self.transpose:
            slice_ = slice_.swapaxes(0, 1)
        return slice_[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def turn_xy(self, x: float, y: float, shape: tuple[int, int]) -> tuple[float, float]:
        """Stored pixel index -> shown pixel index; `shape` is (rows, columns) as shown."""
        if self.transpose:
            x, y = y, x
        if self.flip_columns:
            x = shape[1] - 1 - x
        if self.flip_rows:
            y = shape[0] - 1 - y
        return x, y


def display_of(geometry: Geometry, axis: Axis = "z") -> Display:
    """Radiological display: patient's right on the left, front or head at the top.

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


def overlay_picture(
    segmentation: Segmentation,
    image: Image,
    intensity: Intensity,
    prompts: list[PlacedPrompt] | None = None,
    axis: Axis = "z",
) -> PilImage.Image:
    """Contours and tints over the image: the picture itself, or up to nine slices of a volume.

    Args:
        segmentation: the objects.
        image: the image they lie on.
        intensity: how its values are shown.
        prompts: boxes, clicks and marker lines are drawn in white.
        axis: axis of the slices.
    """
    if image.kind == "picture":
        indices, size = [0], _PICTURE_SIZE
    else:
        indices = _slices_to_show(segmentation, prompts or [], axis)
        size = _PANEL_SIZE if len(indices) > 1 else _PICTURE_SIZE
    display = display_of(image.geometry, axis)
    panels = [
        _panel(segmentation, image, intensity, prompts or [], axis, index, display, size)
        for index in indices
    ]
    return _sheet(panels, _legend(segmentation), _caption(image, axis, display))


def _slices_to_show(
    segmentation: Segmentation, prompts: list[PlacedPrompt], axis: Axis
) -> list[int]:
    """Prompted slices, and evenly spaced ones through the extent of the objects."""
    along = axis_position(axis)
    prompted = sorted({s for p in prompts if (s := _prompt_slice(p, axis)) is not None})[:_PANELS]
    extents = [s.region[along] for s in segmentation.segments if not s.is_empty]
    if not extents:
        return prompted or [segmentation.geometry.slice_count(axis) // 2]
    low, high = min(e.start for e in extents), max(e.stop for e in extents) - 1
    spread = np.linspace(low, high, _PANELS).round().astype(int)
    free = _PANELS - len(prompted)
    others = [int(k) for k in dict.fromkeys(spread) if k not in prompted]
    if len(others) > free:
        others = [others[k] for k in np.linspace(0, len(others) - 1, free).round().astype(int)]
    return sorted({*prompted, *others})


def _panel(
    segmentation: Segmentation,
    image: Image,
    intensity: Intensity,
    prompts: list[PlacedPrompt],
    axis: Axis,
    index: int,
    display: Display,
    size: int,
) -> PilImage.Image:
    shown = display.turn(intensity.apply(image.slice(index, axis)))
    steps = np.linalg.norm(
        image.geometry.in_plane(axis if image.kind != "picture" else "z"), axis=0
    )
    step_x, step_y = steps[::-1] if display.transpose else steps
    rows, columns = shown.shape[:2]
    scale = size / max(columns * step_x, rows * step_y)
    width = max(1, round(columns * step_x * scale))
    height = max(1, round(rows * step_y * scale))
    picture = PilImage.fromarray(np.ascontiguousarray(shown)).convert("RGB")
    canvas = np.asarray(
        picture.resize((width, height), PilImage.Resampling.BICUBIC), dtype=np.float32
    ).copy()
    for k, segment in enumerate(segmentation.segments):
        mask = display.turn(_slice_mask(segmentation, k, index, axis))
        big = PilImage.fromarray(np.ascontiguousarray(mask) * np.uint8(255)).resize((width, height))
        inside = np.asarray(big) > 127
        colour = np.array(COLOURS[(segment.label - 1) % len(COLOURS)], dtype=np.float32)
        canvas[inside] = 0.7 * canvas[inside] + 0.3 * colour
        canvas[inside & ~ndimage.binary_erosion(inside, iterations=2)] = colour
    out = PilImage.fromarray(canvas.round().astype(np.uint8))
    draw = ImageDraw.Draw(out)
    fx, fy = width / columns, height / rows
    for prompt in prompts:
        if isinstance(prompt, Points) and (image.kind == "picture" or prompt.slice == index):
            for (px, py), label in zip(prompt.xy, prompt.labels, strict=True):
                cx, cy = display.turn_xy(px, py, (rows, columns))
                _text(draw, ((cx + 0.5) * fx - 4, (cy + 0.5) * fy - 9), "+" if label else "-")
        if isinstance(prompt, Marker) and prompt.slice == index:
            for line in (prompt.long, prompt.short):
                ends = [display.turn_xy(x, y, (rows, columns)) for x, y in line or ()]
                draw.line([((x + 0.5) * fx, (y + 0.5) * fy) for x, y in ends], fill="white")
        box = _box_on_slice(prompt, index, axis, image.kind == "picture")
        if box is not None:
            corners = [display.turn_xy(x, y, (rows, columns)) for x, y in (box[:2], box[2:])]
            (x0, x1), (y0, y1) = (sorted(v) for v in zip(*corners, strict=True))
            draw.rectangle(
                [x0 * fx, y0 * fy, (x1 + 1) * fx - 1, (y1 + 1) * fy - 1], outline="white"
            )
    _letter_sides(draw, display, width, height)
    if image.kind != "picture":
        _text(draw, (4, 2), f"{axis} = {index}")
    return out


def _slice_mask(segmentation: Segmentation, k: int, index: int, axis: Axis) -> NDArray[np.uint8]:
    segment, geometry = segmentation.segments[k], segmentation.geometry
    if geometry.ndim == 2:
        return segment.mask(geometry.shape).astype(np.uint8)
    along = axis_position(axis)
    out = np.zeros(geometry.slice_shape(axis), dtype=np.uint8)
    region = segment.region[along]
    if region.start <= index < region.stop:
        rest = tuple(r for j, r in enumerate(segment.region) if j != along)
        out[rest] = np.take(segment.crop, index - region.start, axis=along)
    return out


def _prompt_slice(prompt: PlacedPrompt, axis: Axis) -> int | None:
    if isinstance(prompt, Box3D):
        return prompt.on_axis(axis)[0].slice
    return prompt.slice


def _box_on_slice(
    prompt: PlacedPrompt, index: int, axis: Axis, picture: bool
) -> tuple[float, float, float, float] | None:
    if isinstance(prompt, Box3D):
        box, first, last = prompt.on_axis(axis)
        return box.xyxy if first <= index <= last else None
    if isinstance(prompt, Box) and (picture or prompt.slice == index):
        return prompt.xyxy
    return None


def _letter_sides(draw: ImageDraw.ImageDraw, display: Display, width: int, height: int) -> None:
    left, right, top, bottom = display.letters
    _text(draw, (4, height / 2 - 9), left)
    _text(draw, (width - 15, height / 2 - 9), right)
    _text(draw, (width / 2 - 6, 2), top)
    _text(draw, (width / 2 - 6, height - _LINE), bottom)


def _legend(segmentation: Segmentation) -> list[tuple[str, tuple[int, int, int]]]:
    lines = []
    for segment in segmentation.segments:
        found = segment.measurements
        facts = []
        if segment.is_empty:
            facts.append("nothing found")
        elif "volume_ml" in found:
            facts.append(f"{found['volume_ml']:.1f} ml")
        else:
            area = found.get("area_mm2", found.get("area_px", found.get("voxels", 0)))
            unit = "mm2" if "area_mm2" in found else "px"
            facts.append(f"{area:.0f} {unit}")
        if segment.predicted_iou is not None:
            doubt = " - LOW CONFIDENCE" if segment.doubtful else ""
            facts.append(f"predicted IoU {segment.predicted_iou:.2f}{doubt}")
        colour = COLOURS[(segment.label - 1) % len(COLOURS)]
        lines.append((f"{segment.label} {segment.name}: {', '.join(facts)}", colour))
    return lines


def _caption(image: Image, axis: Axis, display: Display) -> str:
    if display.letters[0]:
        shown = f"radiological display ({display.letters[0]} on the left); slices along {axis}"
    elif image.kind != "picture":
        shown = f"displayed as stored, sides unknown; slices along {axis}"
    else:
        shown = "displayed as stored"
    return f"{shown}. White: prompt. Research software, not a medical device."


def _sheet(
    panels: list[PilImage.Image], legend: list[tuple[str, tuple[int, int, int]]], caption: str
) -> PilImage.Image:
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width, height = max(p.width for p in panels), max(p.height for p in panels)
    sheet_width = max(columns * (width + _GAP) + _GAP, 620)
    text_top = rows * (height + _GAP) + _GAP
    sheet = PilImage.new(
        "RGB", (sheet_width, text_top + _LINE * (len(legend) + 1) + _GAP), (20, 20, 20)
    )
    for k, panel in enumerate(panels):
        x = _GAP + (k % columns) * (width + _GAP) + (width - panel.width) // 2
        y = _GAP + (k // columns) * (height + _GAP) + (height - panel.height) // 2
        sheet.paste(panel, (x, y))
    draw = ImageDraw.Draw(sheet)
    for k, (line, colour) in enumerate(legend):
        y = text_top + k * _LINE
        draw.rectangle([_GAP, y + 4, _GAP + 11, y + 15], fill=colour)
        _text(draw, (_GAP + 18, y), line)
    _text(draw, (_GAP, text_top + len(legend) * _LINE), caption)
    return sheet


def _text(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str) -> None:
    font = ImageFont.load_default(14)
    draw.text(xy, text, fill="white", font=font, stroke_width=1, stroke_fill="black")
