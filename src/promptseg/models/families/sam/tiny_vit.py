"""TinyViT image encoder (Wu et al., ECCV 2022) as MobileSAM and LiteMedSAM use it.

Four stages: one of inverted-residual convolutions, three of windowed attention with a learned bias per
relative position. The last downsampling keeps its resolution, so that the embedding is 64 x 64 for both
models: MobileSAM turns 1024 pixels into a 256 grid with a strided patch embedding, LiteMedSAM takes
256 pixels as they are. Parameter names are those of the official checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import LayerNorm2d

__all__ = ["TinyViT"]


class ConvBN(nn.Sequential):
    """Convolution without bias, then batch normalisation."""

    def __init__(self, dim: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.c = nn.Conv2d(dim, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)


class PatchEmbed(nn.Module):
    """RGB to the first grid: `stride` is 4 in total (MobileSAM) or 1 (LiteMedSAM, pointwise)."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        if stride not in (1, 4):
            raise ValueError(f"expected a patch stride of 1 or 4, got {stride}")
        kernel, step = (1, 1) if stride == 1 else (3, 2)
        self.seq = nn.Sequential(
            ConvBN(3, dim // 2, kernel, step), nn.GELU(), ConvBN(dim // 2, dim, kernel, step)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, dim, S / stride, S / stride)."""
        out: Tensor = self.seq(x)
        return out


class MBConv(nn.Module):
    """Inverted residual: widen, depthwise 3x3, narrow, add."""

    def __init__(self, dim: int, expand: float) -> None:
        super().__init__()
        hidden = int(dim * expand)
        self.conv1 = ConvBN(dim, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBN(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to the same shape."""
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(self.conv3(y) + x)


class PatchMerging(nn.Module):
    """Layer that changes the width between stages, and halves the resolution unless `stride` is 1."""

    def __init__(self, dim: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim, out)
        self.conv2 = ConvBN(out, out, 3, stride, groups=out)
        self.conv3 = ConvBN(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to (B, out, H / stride, W / stride)."""
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


class WindowAttention(nn.Module):
    """Multi-head attention inside a window, with one bias per head and absolute offset."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        # offsets are numbered in order of first appearance, which is row by row
        points = torch.tensor(list(product(range(window), repeat=2)))
        offset = (points[:, None] - points[None]).abs()
        indices = offset[..., 0] * window + offset[..., 1]
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.register_buffer("attention_bias_idxs", indices, persistent=False)
        self.attention_bias_idxs: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map (windows, tokens, dim) to the same shape."""
        windows, tokens, dim = x.shape
        qkv = self.qkv(self.norm(x)).view(windows, tokens, self.heads, -1)
        q, k, v = qkv.transpose(1, 2).chunk(3, dim=-1)
        bias = self.attention_biases[:, self.attention_bias_idxs]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        out: Tensor = self.proj(y.transpose(1, 2).reshape(windows, tokens, dim))
        return out


class Mlp(nn.Module):
    """Normalised feed-forward."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class TinyViTBlock(nn.Module):
    """Windowed attention, depthwise 3x3 convolution, feed-forward."""

    def __init__(self, dim: int, heads: int, window: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to the same shape."""
        x = x + self.attend(x)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = x + self.mlp(x)
        return out

    def attend(self, x: Tensor) -> Tensor:
        """Compute attention over windows; the grid is padded with zeros to a multiple of the window."""
        b, h, w, dim = x.shape
        n = self.window
        x = F.pad(x, (0, 0, 0, -w % n, 0, -h % n))
        rows, columns = x.shape[1] // n, x.shape[2] // n
        x = x.view(b, rows, n, columns, n, dim).transpose(2, 3).reshape(-1, n * n, dim)
        x = self.attn(x)
        x = x.view(b, rows, columns, n, n, dim).transpose(2, 3)
        return x.reshape(b, rows * n, columns * n, dim)[:, :h, :w]


class ConvStage(nn.Module):
    """First stage: inverted residuals."""

    def __init__(self, dim: int, out: int, depth: int, expand: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MBConv(dim, expand) for _ in range(depth))
        self.downsample = PatchMerging(dim, out, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to (B, out, H / 2, W / 2)."""
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.downsample(x)
        return out


class AttentionStage(nn.Module):
    """A stage of attention blocks, then the step to the next one."""

    def __init__(self, dim: int, depth: int, heads: int, window: int, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TinyViTBlock(dim, heads, window, mlp_ratio) for _ in range(depth)
        )
        self.downsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to (B, out, H', W')."""
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = x.permute(0, 3, 1, 2)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """The image encoder.

    Args:
        image_size: pixels along each side of the (padded) input.
        patch_stride: 4 for MobileSAM (1024 pixels), 1 for LiteMedSAM (256 pixels).
        dims: width of the four stages.
        depths: blocks per stage.
        heads: attention heads per stage (the first stage has none).
        windows: window length per stage (the first stage has none).
        out_channels: channels of the embedding.
    """

    def __init__(
        self,
        image_size: int,
        patch_stride: int,
        dims: Sequence[int] = (64, 128, 160, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (2, 4, 5, 10),
        windows: Sequence[int] = (7, 7, 14, 7),
        mlp_ratio: float = 4.0,
        out_channels: int = 256,
    ) -> None:
        super().__init__()
        self.img_size = image_size
        self.patch_embed = PatchEmbed(dims[0], patch_stride)
        self.layers = nn.ModuleList([ConvStage(dims[0], dims[1], depths[0], mlp_ratio)])
        for k in range(1, len(dims)):
            stage = AttentionStage(dims[k], depths[k], heads[k], windows[k], mlp_ratio)
            if k + 1 < len(dims):
                last = k + 2 == len(dims)
                stage.downsample = PatchMerging(dims[k], dims[k + 1], 1 if last else 2)
            self.layers.append(stage)
        self.neck = nn.Sequential(
            nn.Conv2d(dims[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, 256, 64, 64) embeddings."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.neck(x)
        return out
