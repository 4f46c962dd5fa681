"""The UNETR-like decoder of a SAM's embedding (MedicoSAM, II-D), as torch-em and micro-sam have it.

The encoder's inner stages are not used: a chain of four blocks doubles the embedding's resolution again
and again, and what each gives is joined to the way of a U-Net's decoder. Parameter names are those of
torch-em, so that official decoders load as they are and ours load there.

At a joint, only the middle channels of what comes from the chain are used, as many as the way itself
has: that is what the official code does, and what published decoders were trained with.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["STAGES", "Decoder2d"]

STAGES = 4
"""Blocks of the chain; as many steps of a factor 2 lead from a patch of 16 pixels to pixels."""


class _Upsample(nn.Module):
    """Bilinear resampling, then a pointwise convolution."""

    def __init__(self, factor: int, dim: int, out: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(dim, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.factor > 1:
            x = F.interpolate(x, scale_factor=float(self.factor), mode="bilinear")
        out: Tensor = self.conv(x)
        return out


class _Transposed(nn.Module):
    """A transposed convolution, which some of the official decoders have in its place."""

    def __init__(self, factor: int, dim: int, out: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(dim, out, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Convolution(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Link(nn.Module):
    """A block of the chain: one step up, a convolution, batch normalisation."""

    def __init__(self, up: nn.Module, out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(up, _Convolution(out), nn.BatchNorm2d(out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Refine(nn.Module):
    """Twice: instance normalisation without parameters, a convolution."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(dim),
            nn.Conv2d(dim, out, 3, padding=1),
            nn.ReLU(),
            nn.InstanceNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Way(nn.Module):
    """The decoder of a U-Net."""

    def __init__(self, widths: list[int], ups: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Refine(a, b) for a, b in pairwise(widths))
        self.samplers = nn.ModuleList(ups)

    def forward(self, x: Tensor, joints: list[Tensor]) -> Tensor:
        for block, up, joint in zip(self.blocks, self.samplers, joints, strict=True):
            x = up(x)
            x = block(torch.cat([x, _middle(joint, x.shape[1])], dim=1))
        return x


class Decoder2d(nn.Module):
    """Embeddings to features, and to logits of classes where it has an output.

    Args:
        channels: of the embedding.
        classes: channels of the logits, background included; None for features alone.
        features: of the finest level; 64 as published, less for less time. Levels before it have 2, 4
            and 8 times as many.
        doublings: how many of the four steps double the resolution, the last ones: 4 as published,
            fewer for an output that is coarser than the input.
        transposed: whether steps are transposed convolutions; then all of them double.
    """

    def __init__(
        self,
        channels: int = 256,
        classes: int | None = None,
        features: int = 64,
        doublings: int = STAGES,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= doublings <= STAGES or (transposed and doublings < STAGES):
            raise ValueError(f"expected 0 to {STAGES} doublings, got {doublings}")
        step = _Transposed if transposed else _Upsample
        factors = [1] * (STAGES - doublings) + [2] * doublings
        widths = [features << k for k in (3, 2, 1, 0)]
        self.features, self.doublings = features, doublings

        def link(number: int, dim: int, out: int) -> _Link:
            return _Link(step(factors[number], dim, out), out)

        self.deconv1 = link(0, channels, widths[0])
        self.deconv2 = link(1, widths[0], widths[1])
        self.deconv3 = link(2, widths[1], widths[2])
        self.deconv4 = link(3, widths[2], widths[3])
        self.base = _Refine(channels, widths[0])
        ups: list[nn.Module] = [
            step(f, a, b) for f, (a, b) in zip(factors, pairwise(widths), strict=False)
        ]
        self.decoder = _Way(widths, ups)
        self.deconv_out = step(factors[3], features, features)
        self.decoder_head = _Refine(2 * features, features)
        if classes is not None:
            self.out_conv = nn.Conv2d(features, classes, 1)

    def decode(self, embedding: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, features, 2^doublings h, 2^doublings w)."""
        first = self.deconv1(embedding)
        second = self.deconv2(first)
        third = self.deconv3(second)
        last = self.deconv4(third)
        x = self.decoder(self.base(embedding), [first, second, third])
        out: Tensor = self.decoder_head(torch.cat([self.deconv_out(x), last], dim=1))
        return out


def _middle(x: Tensor, channels: int) -> Tensor:
    """The middle channels of (B, C, h, w)."""
    first = (x.shape[1] - channels) // 2
    return x[:, first : first + channels]
