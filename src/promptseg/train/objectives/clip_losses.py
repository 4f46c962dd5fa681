"""Losses of SAM 2 on clips (Ravi et al., 2024, appendix D; the weights are MedSAM2's as well).

20 focal + 1 Dice + 1 absolute error of the predicted IoU + 1 cross-entropy of whether the object is
there. Of several masks the one that is best by its own losses of masks learns, all of them learn
their IoU. Where the object is not on the frame, only that is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.models.families.sam2.mask_decoder import Decoded

__all__ = ["ClipLoss", "clip_loss"]

FOCAL, DICE, IOU, PRESENCE = 20.0, 1.0, 1.0, 1.0
_ALPHA, _GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class ClipLoss:
    """Losses of B objects on one frame, weighted.

    Attributes:
        focal: (B,).
        dice: (B,).
        iou: (B,).
        presence: (B,).
        overlap: (B,) true IoU of the mask that learns, for the log; where the object is not there,
            NaN.
    """

    focal: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor
    overlap: Tensor

    def total(self) -> Tensor:
        """Return their sum over objects."""
        return (self.focal + self.dice + self.iou + self.presence).sum()


def clip_loss(decoded: Decoded, target: Tensor) -> ClipLoss:
    """Return the losses of one answer.

    Args:
        decoded: what the network says of B objects, with k masks.
        target: (B, h, w) boolean masks on the grid of the logits; empty where the object is not there.
    """
    logits = decoded.logits.float()
    wanted = target[:, None].expand_as(logits)
    there = target.flatten(1).any(1).float()
    focal, dice = FOCAL * _focal(logits, wanted.float()), DICE * _dice(logits, wanted.float())
    best = (focal + dice).detach().argmin(dim=1, keepdim=True)
    overlap = _overlap(logits > 0, wanted)
    iou = (decoded.iou.float() - overlap).abs().mean(dim=1)
    presence = F.binary_cross_entropy_with_logits(
        decoded.presence[:, 0].float(), there, reduction="none"
    )
    return ClipLoss(
        there * focal.gather(1, best)[:, 0],
        there * dice.gather(1, best)[:, 0],
        there * IOU * iou,
        PRESENCE * presence,
        overlap.gather(1, best)[:, 0].where(there > 0, torch.nan),
    )


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """(B, k) mean over pixels (Lin et al., 2017)."""
    p = logits.sigmoid()
    plain = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = torch.where(wanted > 0, 1 - p, p)
    share = torch.where(wanted > 0, _ALPHA, 1 - _ALPHA)
    return (share * missed**_GAMMA * plain).mean((2, 3))


def _dice(logits: Tensor, wanted: Tensor) -> Tensor:
    """(B, k); one is added above and below, so that nothing found of nothing is right."""
    p = logits.sigmoid()
    both = (p * wanted).sum((2, 3))
    return 1 - (2 * both + 1) / (p.sum((2, 3)) + wanted.sum((2, 3)) + 1)


def _overlap(found: Tensor, wanted: Tensor) -> Tensor:
    """(B, k) IoU."""
    both, either = (found & wanted).sum((2, 3)), (found | wanted).sum((2, 3))
    return both / either.clamp(min=1)
