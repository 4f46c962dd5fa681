"""Losses of SAM 3 on sets of instances, as its code has them: match first, then judge.

Every layer of the decoder is matched and judged by itself; masks are of the last layer alone. Where a
phrase names nothing on the image, its queries are not judged, only whether it was said that there is
nothing. The second set of queries of the official training (one-to-many) has no network here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from promptseg.models.families.sam3.layers import Layers

__all__ = ["Instances", "SetLoss", "matched", "set_loss"]

SCORE, PRESENCE, L1, GIOU = 20.0, 20.0, 5.0, 2.0
FOCAL, DICE = 200.0, 10.0
WHOLE_FOCAL, WHOLE_DICE = 20.0, 30.0
_COST_SCORE, _COST_L1, _COST_GIOU = 2.0, 5.0, 2.0
_ALPHA, _GAMMA = 0.25, 2.0
_WHOLE_ALPHA = 0.6
_FOUND = 10.0  # weight of the queries that are instances
_LEAST = 0.01  # score that a matched query is to have at least
_QUERIES = 200  # that the weight of the scores is for

Match = tuple[Tensor, Tensor, Tensor]
"""(M,) phrase, query and instance of every pair."""


@dataclass(frozen=True)
class Instances:
    """All instances of P phrases on one image.

    Attributes:
        boxes: (N, 4) centre, width and height in parts of the input.
        masks: (N, R, R) boolean.
        phrase: (N,) what they are of, in order.
        phrases: P.
    """

    boxes: Tensor
    masks: Tensor
    phrase: Tensor
    phrases: int

    @property
    def there(self) -> Tensor:
        """Return (P,) ones where a phrase has an instance, else zeros."""
        count = torch.bincount(self.phrase, minlength=self.phrases)
        return (count > 0).float()


@dataclass(frozen=True)
class SetLoss:
    """Losses of one image, weighted.

    Attributes:
        score: whether the right queries are sure, all layers together.
        presence: whether it is known that there is an instance.
        box: absolute errors and generalised IoU of boxes.
        mask: focal and Dice losses of masks, of instances and of all together.
        overlap: (M,) IoU of the masks of matched queries, for the log.
        right: (P,) whether it was known that there is an instance, for the log.
    """

    score: Tensor
    presence: Tensor
    box: Tensor
    mask: Tensor
    overlap: Tensor
    right: Tensor

    def total(self) -> Tensor:
        """Return the sum of the losses."""
        return self.score + self.presence + self.box + self.mask


def set_loss(found: Layers, truth: Instances) -> SetLoss:
    """Return the losses of what was found on one image.

    Sums over instances are divided by their number, those over phrases by theirs; all is multiplied by
    the square root of the number of phrases.

    Args:
        found: of P phrases.
        truth: their instances.
    """
    there, count = truth.there, max(1, len(truth.boxes))
    score = presence = box = found.boxes.new_zeros(())
    pairs: Match | None = None
    for scores, boxes, says in zip(
        found.scores.float(), found.boxes.float(), found.presence.float(), strict=True
    ):
        pairs = matched(scores, boxes, truth)
        phrase, query, instance = pairs
        ours, wanted = boxes[phrase, query], truth.boxes[instance]
        score = score + SCORE * _scores(scores, ours, wanted, pairs, there)
        presence = presence + PRESENCE * 0.5 * F.binary_cross_entropy_with_logits(says, there)
        close = (ours - wanted).abs().sum() / count
        box = box + L1 * close + GIOU * (1 - _overlaps(ours, wanted)[1]).sum() / count
    assert pairs is not None, "a decoder of one layer or more"
    mask, overlap = _masks(found, truth, pairs, count)
    whole = _whole(found.whole.float(), truth)
    scale = truth.phrases**0.5
    return SetLoss(
        scale * score,
        scale * presence,
        scale * box,
        scale * (mask + whole),
        overlap,
        (found.presence[-1] > 0) == (there > 0),
    )


@torch.no_grad()
def matched(scores: Tensor, boxes: Tensor, truth: Instances) -> Match:
    """Return each instance with the query that costs least, no query twice (Carion et al., 2020).

    Args:
        scores: (P, Q) logits.
        boxes: (P, Q, 4) centre, width and height.
        truth: the instances; of more than Q of a phrase some have no query.
    """
    p = scores.sigmoid()
    cost_found = -_ALPHA * (1 - p) ** _GAMMA * F.logsigmoid(scores)
    cost_missed = (1 - _ALPHA) * p**_GAMMA * F.logsigmoid(-scores)
    rows: list[tuple[int, int, int]] = []
    for phrase in range(truth.phrases):
        own = (truth.phrase == phrase).nonzero()[:, 0]
        if not len(own):
            continue
        ours, wanted = boxes[phrase], truth.boxes[own]
        far = torch.cdist(ours, wanted, p=1)
        _, giou = _overlaps(ours[:, None], wanted[None])
        unsure = (cost_found + cost_missed)[phrase, :, None]
        cost = _COST_L1 * far + _COST_SCORE * unsure - _COST_GIOU * giou
        queries, instances = linear_sum_assignment(cost.double().cpu().numpy())
        rows += [(phrase, int(q), int(own[k])) for q, k in zip(queries, instances, strict=True)]
    table = torch.tensor(rows, dtype=torch.long, device=boxes.device).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _scores(logits: Tensor, ours: Tensor, wanted: Tensor, pairs: Match, there: Tensor) -> Tensor:
    """Cross-entropy with the score that a query's box deserves; mean over queries of all phrases.

    A network of fewer queries than the published one counts as if it had as many, the others sure of
    nothing: else its few scores would outweigh boxes and masks.
    """
    place = pairs[:2]
    p = logits.sigmoid()
    with torch.no_grad():
        iou, _ = _overlaps(ours, wanted)
        deserved = (p[place] ** _ALPHA * iou ** (1 - _ALPHA)).clamp(min=_LEAST)
        found, target = torch.zeros_like(p), torch.zeros_like(p)
        found[place], target[place] = 1, deserved
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(found > 0, torch.full_like(p, _FOUND), p**_GAMMA)
    phrases, queries = logits.shape
    return (each * weight * there[:, None]).sum() / (phrases * max(queries, _QUERIES))


def _masks(found: Layers, truth: Instances, pairs: Match, count: int) -> tuple[Tensor, Tensor]:
    phrase, query, instance = pairs
    if not len(phrase):
        return found.masks.sum() * 0, found.masks.new_zeros(0)
    wanted = truth.masks[instance]
    logits = _on_grid(found.masks[phrase, query].float(), wanted)
    focal, dice = _focal(logits, wanted, _ALPHA), _dice(logits, wanted)
    return (FOCAL * focal + DICE * dice).sum() / count, _iou(logits > 0, wanted)


def _whole(logits: Tensor, truth: Instances) -> Tensor:
    """The same of all instances of a phrase together; mean over phrases that have any."""
    there = truth.there.nonzero()[:, 0]
    if not len(there):
        return logits.sum() * 0
    wanted = torch.stack([truth.masks[truth.phrase == p].any(0) for p in there.tolist()])
    logits = _on_grid(logits[there], wanted)
    focal, dice = _focal(logits, wanted, _WHOLE_ALPHA), _dice(logits, wanted)
    return (WHOLE_FOCAL * focal + WHOLE_DICE * dice).mean()


def _focal(logits: Tensor, wanted: Tensor, alpha: float) -> Tensor:
    """(N,) mean over pixels (Lin et al., 2017)."""
    p, target = logits.sigmoid(), wanted.float()
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    missed = torch.where(wanted, 1 - p, p)
    share = torch.where(wanted, alpha, 1 - alpha)
    return (share * missed**_GAMMA * plain).mean((1, 2))


def _dice(logits: Tensor, wanted: Tensor) -> Tensor:
    """(N,); one is added above and below."""
    p = logits.sigmoid()
    both = (p * wanted).sum((1, 2))
    return 1 - (2 * both + 1) / (p.sum((1, 2)) + wanted.sum((1, 2)) + 1)


def _iou(found: Tensor, wanted: Tensor) -> Tensor:
    both, either = (found & wanted).sum((1, 2)), (found | wanted).sum((1, 2))
    return both / either.clamp(min=1)


def _on_grid(logits: Tensor, masks: Tensor) -> Tensor:
    """(N, h, w) logits on the grid of masks, bilinear where they differ."""
    if logits.shape[-2:] == masks.shape[-2:]:
        return logits
    return F.interpolate(logits[:, None], masks.shape[-2:], mode="bilinear")[:, 0]


def _overlaps(ours: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., 2019) of boxes by centre, width and height."""
    low = [one[..., :2] - one[..., 2:] / 2 for one in (ours, wanted)]
    high = [one[..., :2] + one[..., 2:] / 2 for one in (ours, wanted)]
    both = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(-1)
    either = (high[0] - low[0]).prod(-1) + (high[1] - low[1]).prod(-1) - both
    around = (torch.maximum(*high) - torch.minimum(*low)).prod(-1)
    iou = both / either.clamp(min=1e-12)
    return iou, iou - (around - either) / around.clamp(min=1e-12)
