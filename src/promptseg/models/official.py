"""Files that the official code of a model loads with its own loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.card import ModelCard

__all__ = ["official_content", "official_tensors"]

# MobileSAM's code wants the ImageNet classifier that its file carries and nothing uses
_CLASSIFIER = {
    "image_encoder.norm_head.weight": (320,),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.head.bias": (1000,),
}
_OWN = "memory-sam"  # a build that no other project has


def official_tensors(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """Add the tensors that the official code of a model expects but does not use, as zeros."""
    found = dict(tensors)
    if card.build == "build_mobile_sam":
        for name, shape in _CLASSIFIER.items():
            found.setdefault(name, torch.zeros(shape))
    return found


def official_content(tensors: Mapping[str, Tensor], card: ModelCard) -> dict[str, Any]:
    """Return the content of a file for the official code: a SAM's tensors, or a SAM 2's under `model`.

    Args:
        tensors: all of the network, under the official names.
        card: of the model.

    Raises:
        ModelError: a model that no official code knows, or whose names are others.
    """
    if card.family not in ("sam", "sam2") or card.build == _OWN:
        raise ModelError(
            "a SAM or a SAM 2, whose official code loads files", f"{card.name} of {card.family}"
        )
    whole = {k: v.contiguous() for k, v in official_tensors(tensors, card).items()}
    return {"model": whole} if card.family == "sam2" else whole
