"""How images are shown to people: which side is where, in which proportions, under which indices."""

from promptseg.display.axes import Scale, frame, scales
from promptseg.display.prompts import draw_prompts, prompted_slice
from promptseg.display.slices import (
    Display,
    ShownSlice,
    display_of,
    letter_sides,
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
    "display_of",
    "draw_prompts",
    "frame",
    "letter_sides",
    "prompted_slice",
    "scales",
    "sheet",
    "show_mask",
    "show_slice",
    "sides_in_words",
    "write",
]
