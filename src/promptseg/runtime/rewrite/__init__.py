"""Networks rewritten for inference: the same function of the same weights, sooner.

A rewrite is optional. It is looked up by the type of a network; one without it runs as it is, in eager
float32, on no other engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from promptseg.models.families.sam.build import Sam
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Sam2
from promptseg.models.families.words.network import WordsSam
from promptseg.runtime.rewrite.memory_sam import (
    FusedMemorySam,
    can_prepare_memory,
    prepare_memory,
)
from promptseg.runtime.rewrite.sam import FusedSam, can_prepare, prepare, prepare_words
from promptseg.runtime.rewrite.sam2 import FusedSam2, can_prepare_sam2, prepare_sam2

__all__ = [
    "FusedMemorySam",
    "FusedNetwork",
    "FusedSam",
    "FusedSam2",
    "prepare",
    "prepare_sam2",
    "rewritten",
]

FusedNetwork = FusedSam | FusedSam2 | FusedMemorySam
_Rewrite = Callable[[Any, torch.device], FusedNetwork]

_REWRITES: dict[type[nn.Module], tuple[Callable[[Any], bool], _Rewrite]] = {
    WordsSam: (can_prepare, prepare_words),  # before what it is made of
    Sam: (can_prepare, prepare),
    Sam2: (can_prepare_sam2, prepare_sam2),
    MemorySam: (can_prepare_memory, prepare_memory),
}
"""Type of a network -> whether one of it can be rewritten, and how."""


def rewritten(network: nn.Module, device: torch.device) -> FusedNetwork | None:
    """Return the network rewritten for inference, on a device; None where there is no rewrite."""
    for kind, (can, rewrite) in _REWRITES.items():
        if isinstance(network, kind) and can(network):
            return rewrite(network, device)
    return None
