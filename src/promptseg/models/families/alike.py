"""Steps that families share: slices become a batch, objects with prompts that are alike go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.models.preprocess import InputTransform, Preprocessing
from promptseg.models.protocol import Candidates, Prediction, SlicePrompt
from promptseg.models.protocol.prediction import Grid

__all__ = ["apart", "as_batch", "best_candidate", "decoded_alike", "no_prediction"]


def as_batch(
    preprocessing: Preprocessing,
    slices: Sequence[NDArray[np.uint8]],
    pixel: tuple[float, float],
    device: torch.device,
) -> tuple[Tensor, list[InputTransform]]:
    """Make a batch of slices as a network takes it.

    Args:
        preprocessing: of the model.
        slices: one or more, (rows, columns) or (rows, columns, 3).
        pixel: size of their pixels (row, column).
        device: where the network is.

    Returns:
        (B, 3, S, S) float32, and how each slice lies in it.
    """
    prepared = [preprocessing.apply(s, pixel) for s in slices]
    batch = torch.from_numpy(np.stack([values for values, _ in prepared])).to(device)
    return batch, [transform for _, transform in prepared]


def apart(levels: Iterable[Tensor]) -> list[tuple[Tensor, ...]]:
    """Split the features of a batch by slice, so that none holds those of the others in memory."""
    slices = zip(*(level.split(1) for level in levels), strict=True)
    return [tuple(one.clone() for one in each) for each in slices]


def decoded_alike(
    prompts: Sequence[SlicePrompt],
    decode: Callable[[Sequence[SlicePrompt]], Prediction],
    nothing: Prediction,
) -> Prediction:
    """Decode prompts of any kinds, those that are alike together, into one prediction.

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


def best_candidate(logits: Tensor, iou: Tensor, transform: Grid, single_point: bool) -> Prediction:
    """Choose, of the masks of each object, the one with the highest predicted IoU.

    Args:
        logits: (N, K, h, w), in the network's input.
        iou: (N, K) predicted IoU, an estimate of something within 0 and 1 that may overshoot.
        transform: how the slice lies in the network's input.
        single_point: whether the prompts are single points, whose candidates are all kept.
    """
    logits, iou = logits.float(), iou.float()
    best = iou.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    iou = iou.clamp(0, 1)
    chosen = logits[rows, best][:, None]
    several = Candidates(logits, iou.cpu().numpy(), transform) if single_point else None
    return Prediction(
        chosen, transform.masks(chosen).cpu().numpy(), iou[rows, best].cpu().numpy(), several
    )


def no_prediction(shape: tuple[int, int], side: int, device: torch.device) -> Prediction:
    """Return the prediction of no objects on a slice.

    Args:
        shape: (rows, columns) of the slice.
        side: of the model's low-resolution logits.
        device: where the model is.
    """
    none = torch.zeros(0, 1, side, side, device=device)
    return Prediction(none, np.zeros((0, *shape), dtype=bool), np.zeros(0, np.float32))
