"""Prompts on a slice as the tensors that SAM 2 takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from promptseg.models.families.sam.mask_prompt import logits_of_mask
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from promptseg.models.preprocess import InputTransform
from promptseg.models.protocol import SlicePrompt

__all__ = ["drawn_mask", "mask_prompt_of", "points_of"]

_LARGEST = 32.0  # logits of an earlier answer, beyond which nothing more is said


def points_of(
    prompts: Sequence[SlicePrompt], transform: InputTransform, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Return the corners of the boxes of B objects, then their clicks, of which all objects have as
    many.

    Returns:
        (B, N, 2) places in the input and (B, N) labels; None without boxes and clicks.
    """
    first = prompts[0]
    places, labels = [], []
    if first.box is not None:
        places.append(np.array([p.box for p in prompts], np.float64).reshape(-1, 2, 2))
        labels.append(np.tile([TOP_LEFT, BOTTOM_RIGHT], (len(prompts), 1)))
    if first.xy:
        places.append(np.array([p.xy for p in prompts], np.float64))
        labels.append(np.array([p.labels for p in prompts]))
    if not places:
        return None
    xy = transform.scale_xy(np.concatenate(places, axis=1))
    kinds = np.concatenate(labels, axis=1).astype(np.int64)
    return torch.from_numpy(xy).to(device), torch.from_numpy(kinds).to(device)


def mask_prompt_of(
    prompts: Sequence[SlicePrompt], transform: InputTransform, side: int, device: torch.device
) -> Tensor | None:
    """Return the mask prompts of B objects, (B, 1, side, side); None where they have none."""
    if not prompts[0].has_mask:
        return None
    mask_prompts = []
    for prompt in prompts:
        if prompt.mask is not None:
            mask_prompts.append(logits_of_mask(prompt.mask, transform, side).to(device))
        else:
            assert prompt.logits is not None
            mask_prompts.append(prompt.logits.to(device).clamp(-_LARGEST, _LARGEST))
    return torch.cat(mask_prompts)


def drawn_mask(mask: NDArray[np.bool_], size: int, device: torch.device) -> Tensor:
    """Convert a mask on the slice to one on the input: (1, 1, size, size), 0 or 1."""
    drawn = torch.from_numpy(np.ascontiguousarray(mask)).to(device)[None, None].float()
    if drawn.shape[-2:] != (size, size):
        drawn = F.interpolate(drawn, size=(size, size), mode="bilinear", antialias=True)
    return (drawn >= 0.5).float()
