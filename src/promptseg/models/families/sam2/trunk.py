"""Hiera: a transformer of four stages, each at half the resolution and twice the width of the last.

Ryali et al., Hiera: a hierarchical vision transformer without the bells-and-whistles (2023), as SAM 2
uses it: attention within windows, but for a few blocks over the whole grid; absolute positions made of
one map for the window and one for the whole (Bolya et al., Window attention is bugged, 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Hiera", "TrunkSize"]

_STAGES = 4


@dataclass(frozen=True)
class TrunkSize:
    """Sizes of a trunk.

    Attributes:
        width: channels of the first stage; each further stage has twice as many.
        heads: of the first stage, likewise.
        blocks: how many blocks each stage has.
        whole: numbers of the blocks that attend over the whole grid.
        windows: side of each stage's windows.
        background: side of the learned map of positions over the whole grid.
    """

    width: int
    heads: int
    blocks: tuple[int, int, int, int]
    whole: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7

    @property
    def widths(self) -> tuple[int, ...]:
        """Return the number of channels of each stage."""
        return tuple(self.width << stage for stage in range(_STAGES))


class TwoLayers(nn.Module):
    """The feed-forward of a block, under its official names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        out: Tensor = self.layers[1](F.gelu(self.layers[0](x)))
        return out


class MultiScaleAttention(nn.Module):
    """Attention whose queries may be pooled, so that it gives a grid of half the side."""

    def __init__(self, dim: int, out: int, heads: int, pooled: bool) -> None:
        super().__init__()
        self.heads, self.pooled = heads, pooled
        self.qkv = nn.Linear(dim, 3 * out)
        self.proj = nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, dim) to (B, h, w, out), or half of h and w."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pooled:
            q = halved(q)
        h, w = q.shape[1:3]
        q, k, v = (
            t.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(y.unflatten(1, (h, w)))
        return out


class MultiScaleBlock(nn.Module):
    """Attention and feed-forward; the first block of a stage doubles the width and may halve the grid.

    Args:
        dim: channels that come in.
        out: channels that go out.
        heads: of the attention.
        window: side of the windows before pooling; 0 attends over the whole grid.
        pooled: whether the grid is halved.
    """

    def __init__(self, dim: int, out: int, heads: int, window: int, pooled: bool) -> None:
        super().__init__()
        self.window, self.pooled = window, pooled
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MultiScaleAttention(dim, out, heads, pooled)
        self.norm2 = nn.LayerNorm(out, eps=1e-6)
        self.mlp = TwoLayers(out)
        self.proj = nn.Linear(dim, out) if dim != out else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, dim) to (B, h, w, out), or half of h and w."""
        shortcut, x = x, self.norm1(x)
        if self.proj is not None:
            shortcut = self.proj(x)
            shortcut = halved(shortcut) if self.pooled else shortcut
        if self.window:
            windows, grid = cut(x, self.window)
            x = joined(self.attn(windows), grid, shortcut.shape[1:3])
        else:
            x = self.attn(x)
        x = shortcut + x
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """Overlapping patches of 7 x 7 pixels, one every 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 7, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, S / 4, S / 4, width)."""
        patches: Tensor = self.proj(x)
        return patches.permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """The trunk.

    The first block of a stage still has the windows of the stage before, which pooling halves.
    """

    def __init__(self, size: TrunkSize) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(size.width)
        side, window = size.background, size.windows[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, size.width, side, side))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, size.width, window, window))
        self.last = [end - 1 for end in accumulate(size.blocks)]
        self.blocks = nn.ModuleList()
        for stage, count in enumerate(size.blocks):
            for k in range(count):
                enters = k == 0 and stage > 0
                number = len(self.blocks)
                window = size.windows[stage - 1 if enters else stage]
                self.blocks.append(
                    MultiScaleBlock(
                        size.widths[stage - 1 if enters else stage],
                        size.widths[stage],
                        size.heads << stage,
                        0 if number in size.whole else window,
                        pooled=enters,
                    )
                )

    def position(self, h: int, w: int) -> Tensor:
        """Return position embeddings, (1, h, w, width): the whole's, interpolated, plus the window's,
        repeated.
        """
        window = self.pos_embed_window
        whole = F.interpolate(self.pos_embed, size=(h, w), mode="bicubic")
        tiles = window.tile(1, 1, h // window.shape[-2], w // window.shape[-1])
        return (whole + tiles).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, S, S) to the stages' features, (B, C, S / 4, S / 4) to (B, 8 C, S / 32, S /
        32).
        """
        x = self.patch_embed(x)
        x = x + self.position(x.shape[1], x.shape[2])
        stages = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.last:
                stages.append(x.permute(0, 3, 1, 2))
        return stages


def halved(x: Tensor) -> Tensor:
    """Map (B, h, w, C) to (B, h / 2, w / 2, C): of each four the largest."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def cut(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (B, h, w, C) into (B * windows, window, window, C); also give their number down and across.

    The grid is filled with zeros at the bottom and right until windows fit.
    """
    h, w = x.shape[1:3]
    down, across = -(-h // window), -(-w // window)
    x = F.pad(x, (0, 0, 0, across * window - w, 0, down * window - h))
    x = x.unflatten(2, (across, window)).unflatten(1, (down, window)).transpose(2, 3)
    return x.flatten(0, 2), (down, across)


def joined(windows: Tensor, grid: tuple[int, int], size: Sequence[int]) -> Tensor:
    """Join what `cut` gave: (B * windows, window, window, C) to (B, *size, C)."""
    x = windows.unflatten(0, (-1, *grid)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    filled: Tensor = x[:, : size[0], : size[1]]
    return filled
