"""Pictures of an answer beside the truth."""

from __future__ import annotations

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from promptseg.display import letter_sides, scale_bar, show_mask, show_slice, write
from promptseg.evaluate.protocols.ground_truth import View
from promptseg.image import Image
from promptseg.intensity import Intensity

__all__ = ["draw"]

_SIZE = 320
_TRUTH, _FOUND = (0, 158, 115), (230, 97, 1)  # told apart by colour-blind people too


def draw(image: Image, view: View, intensity: Intensity) -> PilImage.Image:
    """Return a slice with the outline of the truth (green), of the answer (orange) and the prompt
    (white).

    Args:
        image: the image.
        view: slice, masks and prompt.
        intensity: how its values are shown.
    """
    shown = show_slice(image, intensity, "z", view.slice, _SIZE)
    width, height = shown.picture.size
    canvas = np.array(shown.picture)
    for mask, colour in ((view.truth, _TRUTH), (view.found, _FOUND)):
        canvas[show_mask(mask, shown.display, (width, height))[1]] = colour
    out = PilImage.fromarray(canvas)
    pen = ImageDraw.Draw(out)
    if view.prompt is not None and view.prompt.box is not None:
        pen.rectangle(shown.outline(view.prompt.box), outline="white")
    for click in view.prompt.clicks if view.prompt else ():
        x, y = shown.centre(click.x, click.y)
        write(pen, (x - 4, y - 9), "+" if click.label else "-")
    letter_sides(pen, shown.display, width, height)
    scale_bar(pen, shown)
    return out
