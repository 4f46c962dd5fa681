"""The published sizes and versions of SAM 2, as data, and networks of them."""

from __future__ import annotations

from collections.abc import Callable

from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Sam2, Shape
from promptseg.models.families.sam2.trunk import TrunkSize

__all__ = ["PLAIN", "SHAPES", "TRUNKS", "build_sam2"]

TRUNKS: dict[str, TrunkSize] = {
    "t": TrunkSize(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "s": TrunkSize(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "b": TrunkSize(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "l": TrunkSize(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
}
"""Size -> its trunk; b is the official "base plus"."""

SHAPES: dict[str, Shape] = {
    **{f"sam2-{size}": Shape(trunk, dated_pointers=False) for size, trunk in TRUNKS.items()},
    **{f"sam2.1-{size}": Shape(trunk) for size, trunk in TRUNKS.items()},
    "medsam2": Shape(TRUNKS["t"], image_size=512),
}


PLAIN: dict[str, Callable[[], MemorySam]] = {"memory-sam": MemorySam}
"""Networks with an encoder that is not SAM 2's."""


def build_sam2(name: str) -> Sam2 | MemorySam:
    """Return a network with random weights.

    Args:
        name: one of `SHAPES` or `PLAIN`.
    """
    if name in PLAIN:
        return PLAIN[name]()
    return Sam2(SHAPES[name])
