"""Prompts: what the user points at. Every prompt knows the slice and the axes it is written in.

Coordinates are indices of the original image counted from 0 at voxel centres; boxes hold both ends
(the box of a mask is the smallest and the largest index it occupies). On slices along z, x is the
column and y the row; along y, x is the array's x and y its z; along x, x is the array's y and y its z.
"""

from promptseg.prompts.markers import Marker
from promptseg.prompts.mask import Mask, box_of_mask
from promptseg.prompts.millimetres import Millimetres
from promptseg.prompts.objects import ObjectPrompts, PlacedPrompt, Prompt, group_by_object, place
from promptseg.prompts.planar import Box, Box3D, Points
from promptseg.prompts.text import (
    PARSERS,
    parse_box,
    parse_box3d,
    parse_point,
    parse_text,
    typed_prompts,
)
from promptseg.prompts.words import Text

__all__ = [
    "PARSERS",
    "Box",
    "Box3D",
    "Marker",
    "Mask",
    "Millimetres",
    "ObjectPrompts",
    "PlacedPrompt",
    "Points",
    "Prompt",
    "Text",
    "box_of_mask",
    "group_by_object",
    "parse_box",
    "parse_box3d",
    "parse_point",
    "parse_text",
    "place",
    "typed_prompts",
]
