"""Optional changes of training images; off by default, as in the papers."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["augment"]

_CONTRAST, _BRIGHTNESS, _GAMMA = 0.25, 0.1, 0.3


_Mask = TypeVar("_Mask", bound=np.generic)


def augment(
    picture: NDArray[np.uint8], masks: NDArray[_Mask], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[_Mask], bool]:
    """Mirror, turn by quarters, and change contrast, brightness and gamma.

    Args:
        picture: (rows, columns[, 3]).
        masks: (objects, rows, columns), or maps of classes.
        rng: draws what is done.

    Returns:
        Both, changed alike, and whether rows and columns have changed places.
    """
    quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    picture, masks = np.rot90(picture, quarters), np.rot90(masks, quarters, (1, 2))
    if mirrored:
        picture, masks = picture[:, ::-1], masks[:, :, ::-1]
    unit = picture / np.float32(255)
    unit = unit ** np.exp(rng.uniform(-_GAMMA, _GAMMA))
    mean = unit.mean()
    unit = (unit - mean) * (1 + rng.uniform(-_CONTRAST, _CONTRAST)) + mean
    unit = unit + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
    changed = (unit.clip(0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(changed), np.ascontiguousarray(masks), bool(quarters % 2)
