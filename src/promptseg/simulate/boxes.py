"""Boxes as people draw them: around the object, but not exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.prompts import box_of_mask

__all__ = ["Jitter", "jittered_box"]

_FRAME = 1024  # pixels along the longer side of the frame in which the papers count


@dataclass(frozen=True)
class Jitter:
    """The distance of the edges of a drawn box from those of the object.

    Every edge moves on its own, by a distance drawn uniformly. The papers count in pixels of a
    1024-pixel input; here it is the image's longer side that has 1024 of them, whatever the input of
    the model, so that models of different input size see the same box.

    Attributes:
        pixels: the largest distance: 20 as MedSAM, 5 as the fine-tuning of SAM2.
        sign: "outward" moves edges away from the object, as MedSAM's code does; "either" moves them
            inwards as well, though never past the middle of the box. The papers' texts leave the sign
            open.

    Examples:
        >>> from promptseg.simulate import Jitter
        >>> Jitter(pixels=5, sign="either")
        Jitter(pixels=5, sign='either')
    """

    pixels: float = 20.0
    sign: Literal["outward", "either"] = "outward"

    def __post_init__(self) -> None:
        if not 0 <= self.pixels <= _FRAME:
            raise InputError(f"a jitter of 0 to {_FRAME} pixels", f"{self.pixels:g}")


def jittered_box(
    mask: NDArray[np.bool_], rng: np.random.Generator, jitter: Jitter | None = None
) -> tuple[float, float, float, float]:
    """Return the box of an object with every edge moved.

    Args:
        mask: (rows, columns) boolean, not empty.
        rng: draws the four distances, in the order left, top, right, bottom.
        jitter: how far they go.

    Returns:
        XYXY in pixels of the image, not rounded, within the image.

    Raises:
        InputError: the mask is empty.

    Examples:
        >>> import numpy as np
        >>> from promptseg.simulate import Jitter, generator, jittered_box
        >>> mask = np.zeros((64, 64), bool)
        >>> mask[20:40, 16:30] = True
        >>> x0, y0, x1, y1 = jittered_box(mask, generator(0, "case 1"), Jitter(20))
        >>> x0 <= 16 and y0 <= 20 and x1 >= 29 and y1 >= 39  # moved outwards
        True
    """
    jitter = jitter or Jitter()
    box = box_of_mask(mask)
    if box is None:
        raise InputError("an object to draw a box around", "an empty mask", "leave this slice out")
    rows, columns = mask.shape
    reach = jitter.pixels * max(rows, columns) / _FRAME
    x0, y0, x1, y1 = box
    least = 0.0 if jitter.sign == "outward" else -1.0
    left, top, right, bottom = rng.uniform(least, 1.0, size=4) * reach
    half = ((x1 - x0) / 2, (y1 - y0) / 2)
    return (
        float(max(x0 - max(left, -half[0]), 0)),
        float(max(y0 - max(top, -half[1]), 0)),
        float(min(x1 + max(right, -half[0]), columns - 1)),
        float(min(y1 + max(bottom, -half[1]), rows - 1)),
    )
