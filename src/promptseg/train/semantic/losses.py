"""Dice and cross-entropy of classes (MedicoSAM, II-D), over the pixels that are image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_dice", "class_loss"]

_IGNORED = -1
_LEAST = 1e-7


def class_loss(
    logits: Tensor, classes: Tensor, weights: Tensor | None = None, faithful: bool = False
) -> tuple[Tensor, Tensor]:
    """Return half the Dice loss plus half the cross-entropy, and the Dice coefficients.

    The Dice loss is 1 - 2 sum(p g) / (sum(p^2) + sum(g^2)) per class, background included, over all
    images together, of p = softmax(logits). Its mean is over the classes that are there: one that is
    absent would add a constant without a gradient. The published code (`faithful`) sums over all
    classes, absent ones included, and computes both losses of sigmoid(logits) as if these were logits.

    Args:
        logits: (B, C, ...).
        classes: (B, ...) from 0 to C - 1; -1 does not count.
        weights: (C,) of the cross-entropy.
        faithful: as the published code does.

    Returns:
        The loss, and (C,) the Dice coefficients, NaN for classes that are not there.
    """
    given = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if faithful:
        given = given.sigmoid()
    inside = (classes != _IGNORED).unsqueeze(1)
    p = given.softmax(1) * inside
    numbers = torch.arange(given.shape[1], device=classes.device).view(
        1, -1, *[1] * (given.ndim - 2)
    )
    g = (classes.unsqueeze(1) == numbers).to(p.dtype)
    axes = [0, *range(2, given.ndim)]
    both, size = (p * g).sum(axes), p.square().sum(axes) + g.sum(axes)
    dice = 2 * both / size.clamp(min=_LEAST)
    there = g.sum(axes) > 0
    fitted = (1 - dice).sum() if faithful else (1 - dice)[there].mean()
    entropy = F.cross_entropy(given, classes, weights, ignore_index=_IGNORED)
    return 0.5 * fitted + 0.5 * entropy, class_dice(given.argmax(1), classes, given.shape[1])


def class_dice(found: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return the (count,) Dice coefficients of a classification, NaN where a class is not there."""
    inside, scores = classes != _IGNORED, []
    for k in range(count):
        a, b = (found == k) & inside, classes == k
        both, either = 2 * (a & b).sum(), a.sum() + b.sum()
        scores.append(torch.where(b.any(), both / either, torch.nan))
    return torch.stack(scores)
