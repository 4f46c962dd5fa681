"""The picture that goes beside every mask: what was prompted, what came out, which side is which."""

from __future__ import annotations

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.display import (
    Display,
    display_of,
    draw_prompts,
    letter_sides,
    prompted_slice,
    sheet,
    show_mask,
    show_slice,
    sides_in_words,
    write,
)
from promptseg.formats.colours import COLOURS
from promptseg.geometry import Axis, axis_position
from promptseg.image import Image, Segmentation
from promptseg.intensity import Intensity
from promptseg.prompts import PlacedPrompt

__all__ = ["COLOURS", "overlay_picture"]

_PANELS = 9
_PANEL_SIZE = 380
_PICTURE_SIZE = 1024


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
    return sheet(panels, _legend(segmentation), _caption(image, axis, display))


def _slices_to_show(
    segmentation: Segmentation, prompts: list[PlacedPrompt], axis: Axis
) -> list[int]:
    """Prompted slices, and evenly spaced ones through the extent of the objects."""
    along = axis_position(axis)
    prompted = sorted({s for p in prompts if (s := prompted_slice(p, axis)) is not None})[:_PANELS]
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
    shown = show_slice(image, intensity, axis, index, size)
    width, height = shown.picture.size
    canvas = np.array(shown.picture, dtype=np.float32)
    for segment in segmentation.segments:
        mask = segment.on_slice(index, segmentation.geometry, axis)
        inside, edge = show_mask(mask, display, (width, height))
        colour = np.array(COLOURS[(segment.label - 1) % len(COLOURS)], dtype=np.float32)
        canvas[inside] = 0.7 * canvas[inside] + 0.3 * colour
        canvas[edge] = colour
    out = PilImage.fromarray(canvas.round().astype(np.uint8))
    draw = ImageDraw.Draw(out)
    draw_prompts(draw, shown, prompts, axis, None if image.kind == "picture" else index)
    letter_sides(draw, display, width, height)
    if image.kind != "picture":
        write(draw, (4, 2), f"{axis} = {index}")
    return out


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
    shown = sides_in_words(image, display)
    if image.kind != "picture":
        shown += f"; slices along {axis}"
    return f"{shown}. White: prompt. Research software, not a medical device."
