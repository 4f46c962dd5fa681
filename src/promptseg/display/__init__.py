"""Display of images to people: which side is where, in which proportions, under which indices."""

from promptseg.display.axes import Scale, frame, scales
from promptseg.display.content import Tile, around, content_of, joined
from promptseg.display.prompts import draw_prompts, prompted_slice, prompted_tile
from promptseg.display.slices import (
    Display,
    ShownSlice,
    display_of,
    letter_sides,
    scale_bar,
    sheet,
    show_mask,
    show_slice,
    sides_in_words,
    write,
)

__all__ = [
    "Display",
    "Scale",
    "ShownSlice",
    "Tile",
    "around",
    "content_of",
    "display_of",
    "draw_prompts",
    "frame",
    "joined",
    "letter_sides",
    "prompted_slice",
    "prompted_tile",
    "scale_bar",
    "scales",
    "sheet",
    "show_mask",
    "show_slice",
    "sides_in_words",
    "write",
]
