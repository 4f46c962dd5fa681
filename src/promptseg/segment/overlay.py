"""The picture that goes beside every mask: what was prompted, what came out, which side is which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.display import (
    Display,
    Tile,
    around,
    content_of,
    display_of,
    draw_prompts,
    joined,
    letter_sides,
    prompted_slice,
    prompted_tile,
    scale_bar,
    sheet,
    show_mask,
    show_slice,
    sides_in_words,
    write,
)
from promptseg.formats.colours import COLOURS
from promptseg.geometry import Axis, axis_position
from promptseg.image import Image, Segment, Segmentation
from promptseg.intensity import Intensity
from promptseg.prompts import PlacedPrompt

__all__ = ["COLOURS", "overlay_picture"]

_PANELS = 9
_PANEL_SIZE = 380
_PICTURE_SIZE = 1024
_SMALL = 0.15  # of a side of what is shown: objects below are enlarged
_ZOOMS = 3  # objects that are enlarged
_LEAST_ZOOMED = 16  # voxels that are shown around them
_SMALLEST_ZOOM = 200
_APART, _GROUND = 6, (20, 20, 20)


def overlay_picture(
    segmentation: Segmentation,
    image: Image,
    intensity: Intensity,
    prompts: list[PlacedPrompt] | None = None,
    axis: Axis = "z",
) -> PilImage.Image:
    """Draw contours and tints over the image: the picture itself, or up to nine slices of a volume.

    The air around a body, or the black border of a picture, is cut off. A scale bar says millimetres,
    or pixels where they are not known. Up to three small objects are shown enlarged beside.

    Args:
        segmentation: the objects.
        image: the image they lie on.
        intensity: how its values are shown.
        prompts: boxes, clicks and marker lines are drawn in white.
        axis: axis of the slices.
    """
    placed = prompts or []
    indices = [0] if image.kind == "picture" else _slices_to_show(segmentation, placed, axis)
    tile = _tile(segmentation, image, intensity, placed, axis, indices)
    view = _View(segmentation, image, intensity, placed, axis)
    found = [_around_small(s, view, tile, indices) for s in segmentation.segments]
    small = [zoom for zoom in found if zoom is not None]
    zooms = small[:_ZOOMS]
    if len(indices) > 1:
        panels = [_panel(view, index, _PANEL_SIZE, tile) for index in indices]
        panels += [_zoom(view, zoom, min(panels[0].size)) for zoom in zooms]
    else:
        panels = [_panel(view, indices[0], _PICTURE_SIZE, tile)]
        if zooms:
            height = min(panels[0].height, _PICTURE_SIZE) // len(zooms)
            size = max(_SMALLEST_ZOOM, min(_PANEL_SIZE, height))
            panels = [_beside(panels[0], [_zoom(view, zoom, size) for zoom in zooms])]
    caption = _caption(image, axis, display_of(image.geometry, axis), _enlarged(zooms, small))
    return sheet(panels, _legend(segmentation), caption)


class _View(NamedTuple):
    """What all panels of a sheet share."""

    segmentation: Segmentation
    image: Image
    intensity: Intensity
    prompts: list[PlacedPrompt]
    axis: Axis


class _Zoom(NamedTuple):
    """A small object to be shown enlarged."""

    segment: Segment
    at: int  # slice
    tile: Tile


def _tile(
    segmentation: Segmentation,
    image: Image,
    intensity: Intensity,
    prompts: list[PlacedPrompt],
    axis: Axis,
    indices: list[int],
) -> Tile | None:
    """The part of the slices to show: the body, with all objects and prompts; None for all of it."""
    content = content_of(intensity.apply(image.slice(k, axis)) for k in indices)
    if content is None:
        return None
    for segment in segmentation.segments:
        content = joined(content, _extent(segment, image, axis))
    for prompt in prompts:
        content = joined(content, prompted_tile(prompt, axis))
    rows, columns = image.geometry.slice_shape(axis)
    assert content is not None
    left, top, right, bottom = content
    return max(0, left), max(0, top), min(columns - 1, right), min(rows - 1, bottom)


def _extent(segment: Segment, image: Image, axis: Axis) -> Tile | None:
    """The box of an object on the plane of the slices; None if it is empty."""
    if segment.is_empty:
        return None
    along = None if image.geometry.ndim == 2 else axis_position(axis)
    rows, columns = (r for j, r in enumerate(segment.region) if j != along)
    return columns.start, rows.start, columns.stop - 1, rows.stop - 1


def _around_small(
    segment: Segment, view: _View, tile: Tile | None, indices: list[int]
) -> _Zoom | None:
    """Where an object is to be enlarged, on the slice with most of it; None if it is not small."""
    masks = {k: segment.on_slice(k, view.segmentation.geometry, view.axis) for k in indices}
    index, mask = max(masks.items(), key=lambda item: int(item[1].sum()))
    if not mask.any():
        return None
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    box = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    shape = mask.shape[0], mask.shape[1]
    left, top, right, bottom = tile or (0, 0, shape[1] - 1, shape[0] - 1)
    shares = (
        (box[2] - box[0] + 1) / (right - left + 1),
        (box[3] - box[1] + 1) / (bottom - top + 1),
    )
    if max(shares) > _SMALL:
        return None
    return _Zoom(segment, index, around(box, 0.8, shape, _LEAST_ZOOMED))


def _zoom(view: _View, zoom: _Zoom, size: int) -> PilImage.Image:
    colour = COLOURS[(zoom.segment.label - 1) % len(COLOURS)]
    panel = _panel(view, zoom.at, size, zoom.tile, enlarged=zoom.segment)
    ImageDraw.Draw(panel).rectangle(
        (0, 0, panel.width - 1, panel.height - 1), outline=colour, width=2
    )
    return panel


def _beside(large: PilImage.Image, panels: list[PilImage.Image]) -> PilImage.Image:
    """A large panel with small ones at its right, below each other."""
    width = large.width + _APART + max(p.width for p in panels)
    height = max(large.height, sum(p.height + _APART for p in panels) - _APART)
    page = PilImage.new("RGB", (width, height), _GROUND)
    page.paste(large, (0, 0))
    top = 0
    for panel in panels:
        page.paste(panel, (large.width + _APART, top))
        top += panel.height + _APART
    return page


def _enlarged(zooms: list[_Zoom], small: list[_Zoom]) -> str:
    """What is said of the objects that are enlarged; empty without any."""
    if not zooms:
        return ""
    if len(zooms) < len(small):
        return f"; the first {len(zooms)} of {len(small)} small objects enlarged"
    return "; small objects enlarged"


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
    view: _View, index: int, size: int, tile: Tile | None, enlarged: Segment | None = None
) -> PilImage.Image:
    """One slice, or a tile of it, with contours, tints, prompts, sides and a scale bar."""
    image, axis = view.image, view.axis
    zoomed = enlarged is not None
    shown = show_slice(image, view.intensity, axis, index, size, tile, countable=zoomed)
    canvas = np.array(shown.picture, dtype=np.float32)
    for segment in view.segmentation.segments:
        mask = segment.on_slice(index, view.segmentation.geometry, axis)
        inside, edge = show_mask(mask, shown.display, shown.picture.size, shown.tile)
        colour = np.array(COLOURS[(segment.label - 1) % len(COLOURS)], dtype=np.float32)
        if not zoomed:  # enlarged, what lies below is what one wants to see
            canvas[inside] = 0.7 * canvas[inside] + 0.3 * colour
        canvas[edge] = colour
    out = PilImage.fromarray(canvas.round().astype(np.uint8))
    draw = ImageDraw.Draw(out)
    is_2d = image.kind == "picture"
    if not zoomed:
        draw_prompts(draw, shown, view.prompts, axis, None if is_2d else index)
        letter_sides(draw, shown.display, *out.size)
    scale_bar(draw, shown)
    title = [] if enlarged is None else [f"{enlarged.label} enlarged"]
    title += [] if is_2d else [f"{axis} = {index}"]
    write(draw, (4, 2), ", ".join(title))
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


def _caption(image: Image, axis: Axis, display: Display, enlarged: str) -> str:
    shown = sides_in_words(image, display)
    if image.kind != "picture":
        shown += f"; slices along {axis}"
    return f"{shown}{enlarged}. White: prompt. Research software, not a medical device."
