"""Prompts drawn on a shown slice, where their array indices say."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import ImageDraw

from promptseg.display.slices import ShownSlice, write
from promptseg.geometry import Axis
from promptseg.prompts import Box, Box3D, Marker, PlacedPrompt, Points, Text

__all__ = ["draw_prompts", "prompted_slice", "prompted_tile"]


def draw_prompts(
    draw: ImageDraw.ImageDraw,
    shown: ShownSlice,
    prompts: Iterable[PlacedPrompt],
    axis: Axis,
    index: int | None,
    names: bool = False,
) -> None:
    """Draw boxes, clicks and marker lines in white.

    Args:
        draw: of the shown slice's 2D image.
        shown: the slice.
        prompts: those of other slices are passed over.
        axis: the axis the slice was taken along.
        index: which slice; None for a 2D image, which everything lies on.
        names: write the names of objects above their boxes.
    """
    for prompt in prompts:
        here = index is None or (not isinstance(prompt, Box3D) and prompt.slice == index)
        if isinstance(prompt, Text):
            draw_prompts(draw, shown, [*prompt.boxes, *prompt.outside], axis, index)
            continue
        if isinstance(prompt, Points) and here:
            for (px, py), label in zip(prompt.xy, prompt.labels, strict=True):
                x, y = shown.centre(px, py)
                write(draw, (x - 4, y - 9), "+" if label else "-")
        if isinstance(prompt, Marker) and here:
            for line in (prompt.long, prompt.short):
                draw.line([shown.centre(*end) for end in line or ()], fill="white")
        box = _box_on_slice(prompt, axis, index)
        if box is not None:
            left, top, right, bottom = shown.outline(box)
            draw.rectangle([left, top, right, bottom], outline="white")
            if names and prompt.name:
                write(draw, (left + 2, top - 17 if top >= 17 else bottom + 1), prompt.name)


def prompted_slice(prompt: PlacedPrompt, axis: Axis) -> int | None:
    """Return the index of the slice a prompt lies on; of a 3D box, that of the middle one."""
    if isinstance(prompt, Box3D):
        return prompt.on_axis(axis)[0].slice
    return prompt.slice


def prompted_tile(prompt: PlacedPrompt, axis: Axis) -> tuple[float, float, float, float] | None:
    """Return XYXY around a box, clicks, marker lines or a phrase's examples; else None."""
    if isinstance(prompt, Box3D):
        return prompt.on_axis(axis)[0].xyxy
    if isinstance(prompt, Box):
        return prompt.xyxy
    ends: list[tuple[float, float]] = []
    if isinstance(prompt, Points):
        ends = [(x, y) for x, y in prompt.xy]
    if isinstance(prompt, Marker):
        ends = [(x, y) for line in (prompt.long, prompt.short) for x, y in line or ()]
    if isinstance(prompt, Text):
        ends = [xy for box in prompt.boxes for xy in (box.xyxy[:2], box.xyxy[2:])]
    if not ends:
        return None
    columns, rows = zip(*ends, strict=True)
    return min(columns), min(rows), max(columns), max(rows)


def _box_on_slice(
    prompt: PlacedPrompt, axis: Axis, index: int | None
) -> tuple[float, float, float, float] | None:
    if isinstance(prompt, Box3D):
        box, first, last = prompt.on_axis(axis)
        return box.xyxy if index is not None and first <= index <= last else None
    if isinstance(prompt, Box) and (index is None or prompt.slice == index):
        return prompt.xyxy
    return None
