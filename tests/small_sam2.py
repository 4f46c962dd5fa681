"""A small SAM 2 with random weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from promptseg.models.families.sam2.network import Sam2, Shape
from promptseg.models.families.sam2.plain import PlainSize
from promptseg.models.families.sam2.trunk import TrunkSize

SHAPE = Shape(TrunkSize(8, 1, (1, 1, 3, 1), (3,)), image_size=128, dim=32, memory=16)


def small_sam2(dated_pointers: bool = True) -> Sam2:
    """128 pixels, 32 channels, 16 of memory; the same whenever it is made."""
    torch.manual_seed(0)
    shape = replace(SHAPE, dated_pointers=dated_pointers)
    return Sam2(shape).eval().requires_grad_(False)


def small_plain() -> Sam2:
    """The same with a plain encoder, as EfficientTAM's."""
    torch.manual_seed(0)
    shape = Shape(PlainSize(24, 3, depth=4), 128, dated_pointers=False, dim=32, memory=16)
    return Sam2(shape).eval().requires_grad_(False)
