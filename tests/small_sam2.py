"""A small SAM 2 with random weights."""

from __future__ import annotations

import torch

from promptseg.models.families.sam2.network import Sam2, Shape
from promptseg.models.families.sam2.trunk import TrunkSize


def small_sam2(size: int = 128, dated_pointers: bool = True) -> Sam2:
    """32 channels, 16 of memory; the same whenever it is made."""
    torch.manual_seed(0)
    trunk = TrunkSize(8, 1, (1, 1, 3, 1), (3,))
    return Sam2(Shape(trunk, size, dated_pointers, 32, 16)).eval().requires_grad_(False)
