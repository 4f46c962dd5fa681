"""Weights for bfloat16: at a neighbour, and closer to float32 on average than the nearest ones."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from promptseg.runtime.rewrite import prepare
from promptseg.runtime.rewrite.ops import Depthwise, Linear, Pointwise
from promptseg.runtime.rewrite.rounding import rounded
from runtime.small import plain, tiny

CPU = torch.device("cpu")


def _convolutions() -> nn.Module:
    torch.manual_seed(0)
    wide, mix = nn.Conv2d(8, 32, 1), nn.Conv2d(32, 8, 1)
    depthwise = nn.Conv2d(32, 32, 3, 2, 1, groups=32)
    layers = (Pointwise(wide, gelu=True), Depthwise(depthwise, gelu=True), Pointwise(mix))
    return nn.Sequential(*layers).requires_grad_(False)


def _smooth(seed: int) -> Tensor:
    """Features that change slowly around means of their own."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 8, 5, 5, generator=rng) * 0.3 + torch.linspace(-1, 2, 8)[:, None, None]
    return nn.functional.interpolate(coarse, size=(40, 40), mode="bilinear")


def _nearest(module: nn.Module) -> nn.Module:
    """As engines have it: every weight and bias rounded for itself."""
    own = deepcopy(module)
    for parameter in own.parameters():
        parameter.copy_(parameter.bfloat16())
    return own


def test_weights_are_at_one_of_their_neighbours() -> None:
    module = _convolutions()
    own = rounded(module, (_smooth(0),))
    for (name, before), (_, after) in zip(
        module.named_parameters(), own.named_parameters(), strict=True
    ):
        if name.endswith("bias"):
            assert torch.equal(before, after)
            continue
        assert torch.equal(after, after.bfloat16().float())
        assert ((after - before).abs() <= before.abs() * 2**-7).all()
        assert not torch.equal(after, before.bfloat16().float())


def test_answers_to_other_inputs_are_closer() -> None:
    module, other = _convolutions(), _smooth(1)
    expected = module(other)
    plain_error = (_nearest(module)(other) - expected).norm()
    own_error = (_nearest(rounded(module, (_smooth(0),)))(other) - expected).norm()
    assert own_error < 0.5 * plain_error


def test_strips_keep_the_same_weights_and_kept_parts_their_own() -> None:
    encoder = prepare(tiny(), CPU).image_encoder
    before = deepcopy(encoder.state_dict())
    own = rounded(encoder, (torch.rand(1, 3, 64, 64),)).state_dict()
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    for part in ("widen.linear", "depthwise.conv", "narrow.linear"):
        one, *others = (own[f"first.1.strips.{k}.{part}.weight"] for k in range(8))
        assert all(torch.equal(one, x) for x in others)
    kept = [k for k in own if k.startswith("patch_embed")]
    assert kept
    assert all(torch.equal(own[k], before[k]) for k in kept)


def test_without_convolutions_nothing_is_done() -> None:
    encoder = prepare(plain(), CPU).image_encoder
    assert any(isinstance(m, Linear) for m in encoder.modules())
    assert rounded(encoder, (torch.empty(0),)) is encoder
