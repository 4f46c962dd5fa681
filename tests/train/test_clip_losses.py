"""Losses of clips against a transcription that goes pixel by pixel, in plain Python."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from promptseg.models.families.sam2.mask_decoder import Decoded
from promptseg.train.objectives.clip_losses import clip_loss


def made(candidates: int = 3, objects: int = 3) -> tuple[Decoded, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(objects, candidates, 5, 4, generator=generator, dtype=torch.float64)
    iou = torch.rand(objects, candidates, generator=generator, dtype=torch.float64)
    presence = torch.randn(objects, 1, generator=generator, dtype=torch.float64)
    target = torch.rand(objects, 5, 4, generator=generator) < 0.4
    target[-1] = False  # the last object is not on this frame
    return Decoded(logits, iou, torch.zeros(objects, candidates, 8), presence), target


def transcribed(decoded: Decoded, target: Tensor, k: int) -> dict[str, float]:
    """The losses of object k as the paper's appendix and its code write them."""
    masks, truth = decoded.logits[k].float().tolist(), target[k].flatten().tolist()
    there = any(truth)
    each = []
    for candidate, claimed in zip(masks, decoded.iou[k].float().tolist(), strict=True):
        z = [value for row in candidate for value in row]
        p = [1 / (1 + math.exp(-value)) for value in z]
        focal = 0.0
        for probability, t in zip(p, truth, strict=True):
            p_t = probability if t else 1 - probability
            focal += (0.25 if t else 0.75) * (1 - p_t) ** 2 * -math.log(p_t) / len(z)
        both = sum(probability for probability, t in zip(p, truth, strict=True) if t)
        dice = 1 - (2 * both + 1) / (sum(p) + sum(truth) + 1)
        found = [value > 0 for value in z]
        meet = sum(f and t for f, t in zip(found, truth, strict=True))
        join = sum(f or t for f, t in zip(found, truth, strict=True))
        each.append((20 * focal, dice, abs(claimed - meet / max(join, 1))))
    best = min(each, key=lambda one: one[0] + one[1])
    q = 1 / (1 + math.exp(-float(decoded.presence[k, 0].float())))
    return {
        "focal": best[0] if there else 0.0,
        "dice": best[1] if there else 0.0,
        "iou": sum(one[2] for one in each) / len(each) if there else 0.0,
        "presence": -math.log(q if there else 1 - q),
    }


def test_losses_of_clips_are_those_of_the_transcription() -> None:
    for candidates in (1, 3):
        decoded, target = made(candidates)
        found = clip_loss(decoded, target)
        total = 0.0
        for k in range(len(target)):
            for name, expected in transcribed(decoded, target, k).items():
                assert math.isclose(float(getattr(found, name)[k]), expected, rel_tol=1e-5), name
                total += expected
        assert math.isclose(float(found.total()), total, rel_tol=1e-5)


def test_the_best_mask_alone_learns_its_mask_and_all_learn_their_iou() -> None:
    decoded, target = made()
    logits, iou = decoded.logits.requires_grad_(), decoded.iou.requires_grad_()
    clip_loss(decoded, target).total().backward()
    assert logits.grad is not None
    assert iou.grad is not None
    assert (logits.grad.flatten(2).abs().sum(2) > 0).sum(1).tolist() == [1, 1, 0]
    assert (iou.grad != 0).sum(1).tolist() == [3, 3, 0]
