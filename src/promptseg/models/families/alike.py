"""Objects with prompts of the same kinds are decoded together, and answered in their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from promptseg.models.protocol import Prediction, SlicePrompt

__all__ = ["decoded_alike", "no_prediction"]


def decoded_alike(
    prompts: Sequence[SlicePrompt],
    decode: Callable[[Sequence[SlicePrompt]], Prediction],
    nothing: Prediction,
) -> Prediction:
    """One prediction for prompts of any kinds.

    Args:
        prompts: one per object.
        decode: answers prompts that have the same kinds, and as many clicks.
        nothing: what is answered to none.
    """
    alike: dict[tuple[frozenset[str], int], list[int]] = defaultdict(list)
    for number, prompt in enumerate(prompts):
        alike[prompt.kinds, len(prompt.xy)].append(number)
    parts = [decode([prompts[k] for k in each]) for each in alike.values()]
    if not parts:
        return nothing
    if len(parts) == 1:
        return parts[0]
    back = np.argsort([k for each in alike.values() for k in each])
    return Prediction(
        torch.cat([p.logits for p in parts])[torch.from_numpy(back).to(parts[0].logits.device)],
        np.concatenate([p.masks for p in parts])[back],
        np.concatenate([p.iou for p in parts])[back],
    )


def no_prediction(shape: tuple[int, int], side: int, device: torch.device) -> Prediction:
    """Of no objects on a slice.

    Args:
        shape: (rows, columns) of the slice.
        side: of the model's low-resolution logits.
        device: where the model is.
    """
    none = torch.zeros(0, 1, side, side, device=device)
    return Prediction(none, np.zeros((0, *shape), dtype=bool), np.zeros(0, np.float32))
