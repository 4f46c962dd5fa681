"""The plain image encoder of EfficientTAM: a ViT of one resolution, and a neck of one level.

Xiong et al., Efficient Track Anything (2024), under the official parameter names. Of twelve blocks
every third attends over the whole grid, the others within windows of 14 x 14. Positions are learned for
the 14 x 14 patches of its pretraining, with one for a class token that is not used here, and enlarged
to the grid.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import LayerNorm2d
from promptseg.models.families.sam.vit import PatchEmbed
from promptseg.models.families.sam2.trunk import TwoLayers

__all__ = ["PlainEncoder", "PlainSize"]

_EPS = 1e-6
_PATCH = 16  # pixels
_LEARNED = 14  # side of the grid that positions were learned on


@dataclass(frozen=True)
class PlainSize:
    """Size of a plain trunk.

    Attributes:
        width: of the tokens.
        heads: of the attention.
        depth: number of blocks.
        every: of how many blocks the last one attends over the whole grid.
        window: side of the windows of the others, in patches.
    """

    width: int
    heads: int
    depth: int = 12
    every: int = 3
    window: int = 14


class PlainAttention(nn.Module):
    """Multi-head attention over all tokens of a grid."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, dim) to the same shape."""
        grid = x.shape[1:3]
        parts = self.qkv(x).flatten(1, 2).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(y.unflatten(1, grid))
        return out


class PlainBlock(nn.Module):
    """Attention, inside windows or over the whole grid, then a feed-forward.

    Args:
        dim: width of the tokens.
        heads: of the attention.
        window: side of the windows; 0 for the whole grid.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = PlainAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = TwoLayers(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, h, w, dim) to the same shape."""
        own = self.norm1(x)
        x = x + (self._in_windows(own) if self.window else self.attn(own))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _in_windows(self, x: Tensor) -> Tensor:
        """The grid is padded with zeros to whole windows; what they become is attended to as well."""
        (h, w), n = x.shape[1:3], self.window
        x = F.pad(x, (0, 0, 0, -w % n, 0, -h % n))
        columns = x.shape[2] // n
        windows = x.unflatten(2, (columns, n)).unflatten(1, (-1, n)).transpose(2, 3)
        seen = self.attn(windows.flatten(0, 2)).unflatten(0, windows.shape[:3])
        whole: Tensor = seen.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return whole[:, :h, :w]


class PlainTrunk(nn.Module):
    """The ViT; nothing follows its last block."""

    def __init__(self, size: PlainSize) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(size.width, _PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + _LEARNED**2, size.width))
        self.blocks = nn.ModuleList(
            PlainBlock(
                size.width, size.heads, 0 if k % size.every == size.every - 1 else size.window
            )
            for k in range(size.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, width, S / 16, S / 16)."""
        x = self.patch_embed(x)
        learned = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (_LEARNED, _LEARNED))
        if x.shape[1:3] != learned.shape[2:]:
            learned = F.interpolate(learned, size=x.shape[1:3], mode="bicubic")
        x = x + learned.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class PlainNeck(nn.Module):
    """Two convolutions to the width of features, each with a norm."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        layers = OrderedDict[str, nn.Module](
            conv_1x1=nn.Conv2d(width, channels, 1, bias=False),
            norm_0=LayerNorm2d(channels),
            conv_3x3=nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm_1=LayerNorm2d(channels),
        )
        self.convs = nn.ModuleList([nn.Sequential(layers)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to (B, channels, h, w)."""
        out: Tensor = self.convs[0](x)
        return out


class PlainEncoder(nn.Module):
    """The whole image encoder: trunk and neck."""

    def __init__(self, size: PlainSize, channels: int) -> None:
        super().__init__()
        self.trunk = PlainTrunk(size)
        self.neck = PlainNeck(size.width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, C, S / 16, S / 16)."""
        features: Tensor = self.neck(self.trunk(x))
        return features
