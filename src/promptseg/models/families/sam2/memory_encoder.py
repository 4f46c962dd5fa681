"""Memory encoder of SAM 2: a frame's features and an object's mask there, as one small map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import LayerNorm2d

__all__ = ["MemoryEncoder"]

_HALVINGS = 4  # of the mask, from pixels of the input to cells of the grid


class MaskDownSampler(nn.Module):
    """Four strided convolutions, each with four times the channels of the last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(_HALVINGS):
            given, made = 4**k, 4 ** (k + 1)
            layers += [nn.Conv2d(given, made, 3, 2, 1), LayerNorm2d(made), nn.GELU()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(4**_HALVINGS, channels, 1))

    def forward(self, masks: Tensor) -> Tensor:
        """Map (B, 1, S, S) to (B, channels, S / 16, S / 16)."""
        out: Tensor = self.encoder(masks)
        return out


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7 convolution, then a feed-forward at every place (Liu et al., ConvNeXt, 2022)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(1e-6 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, h, w) to the same shape."""
        y: Tensor = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """Blocks one after the other."""

    def __init__(self, dim: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNextBlock(dim) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, h, w) to the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Features plus downsampled mask, fused and made narrow."""

    def __init__(self, dim: int, memory: int) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownSampler(dim)
        self.pix_feat_proj = nn.Conv2d(dim, dim, 1)
        self.fuser = Fuser(dim)
        self.out_proj = nn.Conv2d(dim, memory, 1)

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        """Map (B, dim, h, w) features and (B, 1, 16 h, 16 w) scaled masks to (B, memory, h, w)."""
        fused = self.fuser(self.pix_feat_proj(features) + self.mask_downsampler(masks))
        memory: Tensor = self.out_proj(fused)
        return memory
