"""A frame with what was found on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw
from scipy import ndimage

from promptseg.display import write
from promptseg.formats.colours import COLOURS
from promptseg.prompts import Box, Box3D, Marker, PlacedPrompt, Points

__all__ = ["overlay_frame"]

_CROSS = np.ones((3, 3), dtype=bool)


def overlay_frame(
    pixels: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    names: Sequence[str],
    prompts: Sequence[PlacedPrompt] = (),
    caption: str = "",
) -> NDArray[np.uint8]:
    """Draw tints and outlines over a frame, prompts in white.

    Args:
        pixels: (rows, columns[, 3]) as shown to the model.
        masks: (rows, columns) of every object.
        names: of the objects; those that are on the frame are written under the caption.
        prompts: those that lie on this frame.
        caption: first line of text; without one nothing is written.
    """
    canvas = np.array(
        np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3))
    )
    thick = max(1, min(pixels.shape[:2]) // 400)
    for number, mask in enumerate(masks):
        if not mask.any():
            continue
        colour = np.array(COLOURS[number % len(COLOURS)], dtype=np.float32)
        edge = mask & ~ndimage.binary_erosion(mask, _CROSS, thick)
        canvas[mask] = (0.7 * canvas[mask] + 0.3 * colour).astype(np.uint8)
        canvas[edge] = colour.astype(np.uint8)
    picture = PilImage.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for prompt in prompts:
        _draw_prompt(draw, prompt)
    if caption:
        write(draw, (4, 2), caption)
        there = [k for k, mask in enumerate(masks) if mask.any()]
        for line, number in enumerate(there, 1):
            colour_of_name = COLOURS[number % len(COLOURS)]
            draw.rectangle([4, 4 + 18 * line, 13, 13 + 18 * line], fill=colour_of_name)
            write(draw, (18, 2 + 18 * line), names[number])
    return np.asarray(picture)


def _draw_prompt(draw: ImageDraw.ImageDraw, prompt: PlacedPrompt) -> None:
    if isinstance(prompt, Box):
        draw.rectangle(prompt.xyxy, outline="white")
    elif isinstance(prompt, Box3D):
        draw.rectangle(prompt.on_axis("z")[0].xyxy, outline="white")
    elif isinstance(prompt, Points):
        for (x, y), label in zip(prompt.xy, prompt.labels, strict=True):
            write(draw, (x - 4, y - 9), "+" if label else "-")
    elif isinstance(prompt, Marker):
        for line in (prompt.long, prompt.short):
            draw.line(list(line or ()), fill="white")
