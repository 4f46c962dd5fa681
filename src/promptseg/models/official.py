"""What the official code of a model wants to find in a file of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from promptseg.models.card import ModelCard

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["official_tensors"]

# MobileSAM's code wants the ImageNet classifier that its file carries and nothing uses
_CLASSIFIER = {
    "image_encoder.norm_head.weight": (320,),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.head.bias": (1000,),
}


def official_tensors(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """A network's tensors with all that its official code loads strictly.

    Args:
        tensors: under official names, without what the network here does not use.
        card: of the model, or of the one it was fine-tuned from.

    Returns:
        The tensors, and zeros for MobileSAM's unused classifier.
    """
    whole = dict(tensors)
    if card.build == "build_mobile_sam":
        for name, shape in _CLASSIFIER.items():
            whole.setdefault(name, torch.zeros(shape))
    return whole
