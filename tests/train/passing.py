"""Films of two coloured shapes that pass behind a bar, one each way, and are hidden for a while."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRAMES", "SIDE", "Film", "film"]

SIDE, FRAMES = 256, 12


class Film(NamedTuple):
    """What is seen, and what is visible of each shape.

    Attributes:
        frames: (FRAMES, SIDE, SIDE, 3) uint8.
        masks: (2, FRAMES, SIDE, SIDE); empty where a shape is hidden.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def film(seed: int) -> Film:
    """One of them; both shapes are visible first and last, and hidden on one frame at least."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    colours = rng.permutation(
        np.array([[220, 60, 50], [60, 190, 80], [70, 90, 220], [230, 200, 60]])
    )
    left = rng.uniform(88, 96)
    bar = (x > left) & (x < left + 76)
    back = rng.uniform(20, 60, 3)
    frames = np.empty((FRAMES, SIDE, SIDE, 3))
    masks = np.zeros((2, FRAMES, SIDE, SIDE), dtype=bool)
    shapes = [
        (rng.uniform(26, 31), number, rng.uniform(-10, 10) + centre)
        for number, centre in zip(rng.permutation(2), (68, 188), strict=True)
    ]
    for k, part in enumerate(np.linspace(0, 1, FRAMES)):
        frames[k] = back
        for number, (size, round_, row) in enumerate(shapes):
            along = 40 + part * (SIDE - 80)
            column = SIDE - along if number else along
            dy, dx = np.abs(y - row), np.abs(x - column)
            shape = dy**2 + dx**2 < size**2 if round_ else np.maximum(dy, dx) < 0.9 * size
            frames[k][shape] = colours[number]
            masks[number, k] = shape & ~bar
        frames[k][bar] = 120
    frames += rng.normal(0, 4, frames.shape)
    return Film(frames.clip(0, 255).astype(np.uint8), masks)
