"""Drawn masks as the mask prompts of this family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from promptseg.models.preprocess import InputTransform

__all__ = ["logits_of_mask"]

_CERTAINTY = 1e-3  # a drawn mask as a probability: this close to 0 and 1


def logits_of_mask(mask: NDArray[np.bool_], transform: InputTransform, side: int = 256) -> Tensor:
    """Convert a drawn mask to SAM's mask prompt: (1, 1, side, side) logits in the network's input."""
    import torch
    from torch.nn import functional as F

    size = [max(1, round(n * side / transform.size)) for n in transform.resized]
    small = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(mask))[None, None].float(),
        size=size,
        mode="bilinear",
        antialias=True,
    )
    chance = small.new_zeros(1, 1, side, side)
    chance[..., : size[0], : size[1]] = small
    return torch.logit(chance.clamp(_CERTAINTY, 1 - _CERTAINTY))
