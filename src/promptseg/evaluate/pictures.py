"""What an answer looks like beside the truth."""

from __future__ import annotations

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.display import display_of, letter_sides, show_mask, show_slice, write
from promptseg.evaluate.protocols.labelled import View
from promptseg.image import Image
from promptseg.intensity import Intensity

__all__ = ["draw"]

_SIZE = 320
_TRUTH, _FOUND = (0, 158, 115), (230, 97, 1)  # told apart by colour-blind people too


def draw(image: Image, view: View, intensity: Intensity) -> PilImage.Image:
    """A slice with the outline of the truth (green), of the answer (orange) and the prompt (white).

    Args:
        image: the image.
        view: slice, masks and prompt.
        intensity: how its values are shown.
    """
    picture, (rows, columns) = show_slice(image, intensity, "z", view.slice, _SIZE)
    display = display_of(image.geometry, "z")
    width, height = picture.size
    canvas = np.array(picture)
    for mask, colour in ((view.truth, _TRUTH), (view.found, _FOUND)):
        canvas[show_mask(mask, display, (width, height))[1]] = colour
    out = PilImage.fromarray(canvas)
    pen = ImageDraw.Draw(out)
    fx, fy = width / columns, height / rows
    if view.prompt is not None and view.prompt.box is not None:
        x0, y0, x1, y1 = view.prompt.box
        corners = [display.turn_xy(x, y, (rows, columns)) for x, y in ((x0, y0), (x1, y1))]
        (left, right), (top, bottom) = (sorted(v) for v in zip(*corners, strict=True))
        edges = [left * fx, top * fy, (right + 1) * fx - 1, (bottom + 1) * fy - 1]
        pen.rectangle(edges, outline="white")
    for click in view.prompt.clicks if view.prompt else ():
        x, y = display.turn_xy(click.x, click.y, (rows, columns))
        write(pen, ((x + 0.5) * fx - 4, (y + 0.5) * fy - 9), "+" if click.label else "-")
    letter_sides(pen, display, width, height)
    return out
