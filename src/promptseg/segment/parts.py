"""Parts of slices or volumes around masks: how much masks share, of many only those that come near."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptseg.image import bounding_region

__all__ = ["Part", "ious", "neighbours"]


@dataclass(frozen=True, eq=False)
class Part:
    """The part of a slice or volume around a mask.

    Attributes:
        region: along each axis; empty for an empty mask.
        crop: the mask there.
    """

    region: tuple[slice, ...]
    crop: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Part:
        """Return the part around a mask of a whole slice or volume."""
        region = bounding_region(mask)
        return cls(region, mask[region])

    @cached_property
    def area(self) -> int:
        """Return the number of pixels of the mask."""
        return int(np.count_nonzero(self.crop))

    def iou(self, other: Part) -> float:
        """Return the IoU of two masks, counted where their boxes meet; 0 where both are empty."""
        lows = [max(a.start, b.start) for a, b in zip(self.region, other.region, strict=True)]
        highs = [min(a.stop, b.stop) for a, b in zip(self.region, other.region, strict=True)]
        if any(low >= high for low, high in zip(lows, highs, strict=True)):
            return 0.0
        ours, theirs = (
            part.crop[
                tuple(
                    slice(low - own.start, high - own.start)
                    for low, high, own in zip(lows, highs, part.region, strict=True)
                )
            ]
            for part in (self, other)
        )
        shared = int(np.count_nonzero(ours & theirs))
        return shared / (self.area + other.area - shared)


def neighbours(parts: Sequence[Part], others: Sequence[Part]) -> Iterator[NDArray[np.intp]]:
    """Yield for each of some masks the places of the others whose boxes meet its own, ascending; the
    rest share no pixel with it.

    Examples:
        >>> left, middle = np.zeros((2, 4, 9), bool)
        >>> left[:, :4] = middle[:, 3:6] = True
        >>> others = [Part.of(middle), Part.of(~left), Part.of(left)]
        >>> [found.tolist() for found in neighbours([Part.of(left)], others)]
        [[0, 2]]
    """
    if not others:
        yield from (np.zeros(0, np.intp) for _ in parts)
        return
    ends = np.array([[(s.start, s.stop) for s in part.region] for part in others], np.int64)
    for part in parts:
        own = np.array([(s.start, s.stop) for s in part.region], np.int64)
        lows, highs = np.maximum(ends[..., 0], own[:, 0]), np.minimum(ends[..., 1], own[:, 1])
        yield np.flatnonzero((lows < highs).all(1))


def ious(parts: Sequence[Part], others: Sequence[Part]) -> NDArray[np.float64]:
    """Return the IoU of each of some masks with each of others, (parts, others)."""
    found = np.zeros((len(parts), len(others)))
    for n, near in enumerate(neighbours(parts, others)):
        for k in near:
            found[n, k] = parts[n].iou(others[k])
    return found
