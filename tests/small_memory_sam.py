"""A small SAM with memory, and the SAM whose prompts it answers as."""

from __future__ import annotations

import torch

from promptseg.models.families.sam.build import Sam
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam2.memory_begin import QUARTERS, begin_with
from promptseg.models.families.sam2.memory_sam import MemorySam
from runtime.small import tiny

SIZE, NARROW = 256, 16


def small_network() -> MemorySam:
    """256 pixels, a grid of 16, 16 channels of each kind in memory; not begun with anything."""
    encoder = TinyViT(SIZE, 4, (16, 32, 32, 64), (2, 1, 1, 1), (1, 2, 2, 2))
    return MemorySam(SIZE, narrow=NARROW, encoder=encoder)


def small_memory_sam(sam: Sam | None = None) -> MemorySam:
    """A network begun with a SAM; the same whenever it is made."""
    torch.manual_seed(0)
    own = (sam or tiny(4)).state_dict()
    directions = torch.randn(NARROW - QUARTERS, 256, generator=torch.Generator().manual_seed(0))
    network = begin_with(small_network(), own, directions / 16, torch.zeros(256))
    return network.requires_grad_(False)
