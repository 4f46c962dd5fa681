"""The published sizes and versions of SAM 2, as data, and networks of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Sam2, Shape
from promptseg.models.families.sam2.plain import PlainSize
from promptseg.models.families.sam2.trunk import TrunkSize

__all__ = ["PLAIN", "SHAPES", "TRUNKS", "build_sam2"]

TRUNKS: dict[str, TrunkSize] = {
    "t": TrunkSize(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "s": TrunkSize(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "b": TrunkSize(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "l": TrunkSize(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
}
"""Size -> its trunk; b is the official "base plus"."""

PLAIN_TRUNKS: dict[str, PlainSize] = {"ti": PlainSize(192, 3), "s": PlainSize(384, 6)}
"""Size of an EfficientTAM -> its trunk."""

SHAPES: dict[str, Shape] = {
    **{f"sam2-{size}": Shape(trunk, dated_pointers=False) for size, trunk in TRUNKS.items()},
    **{f"sam2.1-{size}": Shape(trunk) for size, trunk in TRUNKS.items()},
    "medsam2": Shape(TRUNKS["t"], image_size=512),
}


PLAIN: dict[str, Callable[[], MemorySam | Sam2]] = {
    **{
        f"efficienttam-{size}{suffix}": partial(Sam2, Shape(trunk, side, dated_pointers=False))
        for suffix, side in (("", 1024), ("-512", 512))
        for size, trunk in PLAIN_TRUNKS.items()
    },
    "memory-sam": MemorySam,
}
"""Networks with an encoder that is not SAM 2's: of one level."""


def build_sam2(name: str) -> Sam2 | MemorySam:
    """Build a network with random weights.

    Args:
        name: one of `SHAPES` or `PLAIN`.
    """
    if name in PLAIN:
        return PLAIN[name]()
    return Sam2(SHAPES[name])
