"""The network of SAM 3's tracker: a SAM 2 behind SAM 3's image encoder and a neck of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from promptseg.models.families.sam2.network import MAPS, Sam2, Shape
from promptseg.models.families.sam3.build import Sam3Shape, config_of, transformers_parts

__all__ = ["tracker_of"]

MEMORY, SURE = 64, 0.01
"""Channels of memory, and presence times predicted IoU above which a propagated frame is remembered."""


class TrackerEncoder(nn.Module):
    """Trunk of SAM 3 and second neck.

    Args:
        config: of the detector.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        parts = transformers_parts()
        vision = config.vision_config
        self.trunk = parts.Sam3ViTModel(vision.backbone_config)
        self.neck = parts.Sam3VisionNeck(vision)
        self.patch = int(vision.backbone_config.patch_size)

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, S, S) to (B, C, h, w) at a quarter, half and the whole of a patch."""
        rows, columns = (length // self.patch for length in slices.shape[-2:])
        seen = self.trunk(slices).last_hidden_state
        levels, _ = self.neck(seen.transpose(1, 2).unflatten(2, (rows, columns)))
        fine, middle, coarse = levels[:3]  # a coarser one is not used
        return fine, middle, coarse


def tracker_of(shape: Sam3Shape, memory: int | None = None, seeded: bool = False) -> Sam2:
    """Build a tracker's network of any sizes.

    Args:
        shape: of the detector, whose image encoder it shares.
        memory: channels of memory; those of the published one where not given.
        seeded: whether the image encoder's weights are drawn at random; else they hold whatever memory
            does.
    """
    from contextlib import nullcontext

    parts = transformers_parts()
    with nullcontext() if seeded else parts.no_init_weights():
        encoder = TrackerEncoder(config_of(shape))
    own = Shape(
        None,
        image_size=shape.image_size,
        dim=shape.dim,
        memory=memory or MEMORY,
        stride=shape.patch,
        sure=SURE,
        clears=MAPS,
    )
    return Sam2(own, encoder)
