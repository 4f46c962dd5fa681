"""Colours of objects that were given none, told apart by people with any colour vision."""

from __future__ import annotations

from promptseg.image import Segment

__all__ = ["COLOURS", "colour_of"]

COLOURS: tuple[tuple[int, int, int], ...] = (
    (230, 75, 53),
    (77, 187, 213),
    (0, 160, 135),
    (243, 155, 17),
    (160, 90, 200),
    (240, 228, 66),
    (120, 200, 80),
    (220, 120, 170),
    (100, 140, 255),
    (176, 122, 80),
)


def colour_of(segment: Segment) -> tuple[int, int, int]:
    """Return (red, green, blue) from 0 to 255: the object's own colour, or one chosen by its label."""
    return segment.colour or COLOURS[(segment.label - 1) % len(COLOURS)]
