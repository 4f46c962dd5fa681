"""Layers of an object on a slide: what the answers on one region changed about it."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.slide import Region
from promptseg.image import bounding_region
from promptseg.prompts import Box, Points

__all__ = ["Bits", "Layer", "Patch", "RegionPrompt"]

RegionPrompt = Box | Points
"""What a region is prompted with."""


class Patch(NamedTuple):
    """A part of a slide at a resolution; its sides are whole multiples of its step.

    Attributes:
        region: in pixels of the largest level.
        zoom: its pixels are 2**zoom of those along each side.
    """

    region: Region
    zoom: int

    @property
    def step(self) -> int:
        """Return the side of one of its own pixels, in pixels of the largest level."""
        return 1 << self.zoom

    @property
    def shape(self) -> tuple[int, int]:
        """Return the (rows, columns) of its own pixels."""
        return self.region.height // self.step, self.region.width // self.step

    def holds(self, box: tuple[float, float, float, float], margin: float = 0.0) -> bool:
        """Tell whether a box (x0, y0, x1, y1) lies inside, at least `margin` away from the sides."""
        x, y, width, height = self.region
        return (
            x + margin <= box[0]
            and y + margin <= box[1]
            and box[2] < x + width - margin
            and box[3] < y + height - margin
        )


@dataclass(frozen=True, eq=False)
class Bits:
    """A mask that takes no room to speak of while it waits: deflated bits of its bounding box.

    Attributes:
        shape: (rows, columns) of the whole mask.
        box: first and last row, first and last column of the bounding box, last ones excluded.
        content: what is in it.
    """

    shape: tuple[int, int]
    box: tuple[int, int, int, int]
    content: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Bits:
        """Pack a mask (rows, columns)."""
        rows, columns = bounding_region(mask)
        box = (rows.start, rows.stop, columns.start, columns.stop)
        bits = zlib.compress(np.packbits(mask[rows, columns]).tobytes(), 1)
        return cls((mask.shape[0], mask.shape[1]), box, bits)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Unpack the mask (rows, columns).

        Raises:
            ValueError: damaged.
        """
        top, bottom, left, right = self.box
        count = (bottom - top) * (right - left)
        size = (count + 7) // 8
        plain = zlib.decompressobj().decompress(self.content, size + 1)
        if len(plain) != size:
            raise ValueError("a mask of its own size")
        mask = np.zeros(self.shape, bool)
        bits = np.unpackbits(np.frombuffer(plain, np.uint8), count=count)
        mask[top:bottom, left:right] = bits.reshape(bottom - top, right - left)
        return mask

    def to_json(self) -> list[Any]:
        """Return this as plain values."""
        return [*self.box, base64.b64encode(self.content).decode("ascii")]

    @classmethod
    def from_json(cls, content: list[Any], shape: tuple[int, int]) -> Bits:
        """Build the bits from what `to_json` gave.

        Raises:
            ValueError, TypeError, zlib.error: damaged.
        """
        top, bottom, left, right = (int(n) for n in content[:4])
        if not (0 <= top <= bottom <= shape[0] and 0 <= left <= right <= shape[1]):
            raise ValueError("a mask inside its region")
        found = cls(shape, (top, bottom, left, right), base64.b64decode(content[4], validate=True))
        _ = found.mask  # which is as good a check as any
        return found


@dataclass(frozen=True, eq=False)
class Layer:
    """The answers on one patch, for one object.

    Attributes:
        patch: where.
        base: the object in the patch before; None where there was nothing of it.
        mask: the object in the patch by now.
        prompts: in order, in pixels of the patch.
        model: that answered.
        predicted_iou: the model's own opinion of the answer; None where it has none.
    """

    patch: Patch
    base: Bits | None
    mask: Bits
    prompts: tuple[RegionPrompt, ...]
    model: str
    predicted_iou: float | None = None

    @property
    def changed(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
        """Return the pixels that were added to the object, and those removed; None if none were."""
        mask = self.mask.mask
        if self.base is None:
            return mask, None
        base = self.base.mask
        gone = base & ~mask
        return mask & ~base, gone if gone.any() else None

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values; masks are packed bits of their bounding boxes."""
        return {
            "region": list(self.patch.region),
            "zoom": self.patch.zoom,
            "base": None if self.base is None else self.base.to_json(),
            "mask": self.mask.to_json(),
            "prompts": [_prompt_to_json(prompt) for prompt in self.prompts],
            "model": self.model,
            "predicted_iou": self.predicted_iou,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any], size: tuple[int, int]) -> Layer:
        """Build the layer from what `to_json` gave, on a slide of (width, height) pixels.

        Raises:
            InputError: damaged.
        """
        try:
            patch = Patch(Region(*map(int, content["region"])), int(content["zoom"]))
            x, y, width, height = patch.region
            inside = min(x, y) >= 0 and x + width <= size[0] and y + height <= size[1]
            whole = not (width % patch.step or height % patch.step)
            if not (0 <= patch.zoom < 32 and inside and whole and min(patch.shape) > 0):
                raise ValueError(f"a region {content['region']} of zoom {patch.zoom}")
            base, iou = content["base"], content["predicted_iou"]
            return cls(
                patch,
                None if base is None else Bits.from_json(base, patch.shape),
                Bits.from_json(content["mask"], patch.shape),
                tuple(map(_prompt, content["prompts"])),
                str(content["model"]),
                None if iou is None else float(iou),
            )
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError("a layer of a slide's session", f"one without {error}") from None


def _prompt_to_json(prompt: RegionPrompt) -> dict[str, Any]:
    if isinstance(prompt, Box):
        return {"box": list(prompt.xyxy)}
    return {"points": [[*xy, n] for xy, n in zip(prompt.xy, prompt.labels, strict=True)]}


def _prompt(content: dict[str, Any]) -> RegionPrompt:
    if "box" in content:
        x0, y0, x1, y1 = map(float, content["box"])
        return Box((x0, y0, x1, y1))
    points = [(float(x), float(y), int(n)) for x, y, n in content["points"]]
    return Points(tuple(p[:2] for p in points), tuple(p[2] for p in points))
