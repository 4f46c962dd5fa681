"""Losses per object, over the pixels that are image (MedSAM, equations 1-3; MedicoSAM, II-B)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.train.objectives.settings import MaskLoss

__all__ = ["cross_entropy", "dice_loss", "iou", "iou_loss", "mask_loss"]


def dice_loss(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Return the Dice loss (MedSAM, equation 2), with squared denominators.

    Args:
        logits: (N, R, R).
        target: (N, R, R) boolean, no mask empty.
        inside: (N, R, R) boolean: the pixels that count.

    Returns:
        (N,).
    """
    s = logits.sigmoid() * inside
    g = target.to(s.dtype)
    overlap = (g * s).sum((1, 2))
    return 1 - 2 * overlap / (g.square().sum((1, 2)) + s.square().sum((1, 2)))


def cross_entropy(logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Return the cross-entropy (MedSAM, equation 1); arguments as of `dice_loss`."""
    each = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return (each * inside).sum((1, 2)) / inside.sum((1, 2))


def mask_loss(kind: MaskLoss, logits: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Return the chosen loss of masks; arguments as of `dice_loss`."""
    loss = dice_loss(logits, target, inside)
    return loss if kind == "dice" else loss + cross_entropy(logits, target, inside)


def iou(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the (N,) intersection over union of (N, R, R) boolean masks, `target` not empty."""
    both, either = (prediction & target).sum((1, 2)), (prediction | target).sum((1, 2))
    return both / either


def iou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the (N,) squared errors of the predicted IoU."""
    return torch.square(predicted - true)
