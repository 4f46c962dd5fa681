"""TinyViT for inference: the same function of the same weights, with less to do and to copy.

- Batch normalisation goes into the convolution before it.
- Layer normalisation keeps no scale and shift: the linear layer after it takes them in.
- Of the attention's biases, that of the keys adds the same to all scores of a query and is dropped;
  that of the values passes through the attention, whose weights sum to 1, into the projection. What is
  left of a padded token is 0, so tokens are projected before the grid is padded, not after.
- Tokens lie in a matrix (tokens, channels); windows are cut out and put back by one copy each.
"""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from promptseg.models.sam.tiny_vit import (
    AttentionStage,
    ConvBN,
    ConvStage,
    MBConv,
    Mlp,
    PatchEmbed,
    PatchMerging,
    TinyViT,
    TinyViTBlock,
    WindowAttention,
)
from promptseg.runtime.rewrite.ops import Depthwise, Linear, Pointwise, after_norm

__all__ = ["FastTinyViT"]

_STRIPS = 8  # of the first stage; more save nothing


def _folded(layer: ConvBN) -> nn.Conv2d:
    conv: nn.Conv2d = fuse_conv_bn_eval(layer.c, layer.bn)
    return conv.requires_grad_(False)


class FastPatchEmbed(nn.Module):
    """RGB to the first grid."""

    def __init__(self, embed: PatchEmbed) -> None:
        super().__init__()
        first, _, second = embed.seq
        assert isinstance(first, ConvBN)
        assert isinstance(second, ConvBN)
        make = Pointwise if first.c.kernel_size == (1, 1) else Depthwise
        self.first = make(_folded(first), gelu=True)
        self.second = make(_folded(second))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, dim, S', S')."""
        out: Tensor = self.second(self.first(x))
        return out


class Strip(nn.Module):
    """The layers of an inverted residual for a strip of rows, with biases of its own.

    OpenVINO applies bias and GELU while it convolves only where no other layer has the same bias.

    Args:
        convs: the block's convolutions; the second one pads no rows.
    """

    def __init__(self, *convs: nn.Conv2d) -> None:
        super().__init__()
        widen, depthwise, narrow = (copy(conv) for conv in convs)
        for conv in (widen, depthwise, narrow):
            assert conv.bias is not None
            conv.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
        self.widen, self.narrow = Pointwise(widen, gelu=True), Pointwise(narrow)
        self.depthwise = Depthwise(depthwise, gelu=True)

    def forward(self, x: Tensor, above: bool, below: bool) -> Tensor:
        """A strip of (B, dim, H, W) with a row more above and below -> without those, not yet added.

        Args:
            x: the rows; there is no row more where the image ends.
            above: whether it ends above.
            below: whether it ends below.
        """
        wide = self.widen(x)
        if above or below:
            wide = F.pad(wide, (0, 0, int(above), int(below)))
        out: Tensor = self.narrow(self.depthwise(wide))
        return out


class FastMBConv(nn.Module):
    """Inverted residual, strip by strip: what lies between two layers stays in the cache."""

    def __init__(self, block: MBConv) -> None:
        super().__init__()
        convs = [_folded(conv) for conv in (block.conv1, block.conv2, block.conv3)]
        convs[1].padding = (0, 1)
        self.strips = nn.ModuleList(Strip(*convs) for _ in range(_STRIPS))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same shape; H is a multiple of the number of strips."""
        rows = int(x.shape[2])
        height = rows // len(self.strips)
        done = []
        for k, strip in enumerate(self.strips):
            top, bottom = k * height, (k + 1) * height
            around = x[:, :, max(0, top - 1) : min(rows, bottom + 1)]
            y = strip(around, top == 0, bottom == rows)
            done.append(F.gelu(y + x[:, :, top:bottom]))
        return torch.cat(done, dim=2)


class FastPatchMerging(nn.Module):
    """Between stages."""

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        self.widen = Pointwise(_folded(merging.conv1), gelu=True)
        self.depthwise = Depthwise(_folded(merging.conv2), gelu=True)
        self.mix = Pointwise(_folded(merging.conv3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, out, H', W')."""
        out: Tensor = self.mix(self.depthwise(self.widen(x)))
        return out


class FastWindowAttention(nn.Module):
    """Attention inside windows."""

    def __init__(self, attention: WindowAttention, window: int) -> None:
        super().__init__()
        self.heads, self.window, self.eps = attention.heads, window, attention.norm.eps
        self.dim = dim = attention.proj.in_features
        self.width = dim // self.heads
        weight, bias = after_norm(attention.norm, attention.qkv)
        q, k, v = weight.view(self.heads, 3, self.width, dim).unbind(1)
        for_q, _, for_v = (b.flatten() for b in bias.view(self.heads, 3, self.width).unbind(1))
        scale = self.width**-0.5
        self.qkv = Linear(
            torch.cat([(q * scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)]),
            torch.cat([for_q * scale, torch.zeros_like(for_q), torch.zeros_like(for_v)]),
        )
        projection = attention.proj.weight.detach()
        self.proj = Linear(projection, attention.proj.bias.detach() + projection @ for_v)
        offsets = attention.attention_biases[:, attention.attention_bias_idxs]
        self.register_buffer("bias", offsets.detach()[None].clone())
        self.bias: Tensor

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """(B * rows * columns, dim) tokens -> the tokens with what they attended to."""
        n, heads, width = self.window, self.heads, self.width
        down, across = -(-rows // n), -(-columns // n)
        qkv = self.qkv(F.layer_norm(x, (self.dim,), eps=self.eps))
        qkv = qkv.view(-1, rows, columns, 3, heads, width)
        if (missing := (down * n - rows, across * n - columns)) != (0, 0):
            qkv = F.pad(qkv, (0, 0, 0, 0, 0, 0, 0, missing[1], 0, missing[0]))
        windows = qkv.view(-1, n, across, n, 3, heads, width).permute(4, 0, 2, 5, 1, 3, 6)
        q, k, v = windows.reshape(3, -1, heads, n * n, width).unbind(0)
        y = torch.softmax(q @ k.transpose(-1, -2) + self.bias, -1) @ v
        y = y.view(-1, across, heads, n, n, width).permute(0, 3, 1, 4, 2, 5)
        y = y.reshape(-1, down * n, across * n, self.dim)[:, :rows, :columns]
        out: Tensor = self.proj(y.reshape(-1, self.dim), x)
        return out


class FastMlp(nn.Module):
    """Normalised feed-forward."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.eps = mlp.norm.eps
        self.widen = Linear(*after_norm(mlp.norm, mlp.fc1), gelu=True)
        self.narrow = Linear(mlp.fc2.weight.detach(), mlp.fc2.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, dim) -> the same shape, the tokens added."""
        y = self.widen(F.layer_norm(x, x.shape[-1:], eps=self.eps))
        out: Tensor = self.narrow(y, x)
        return out


class FastBlock(nn.Module):
    """Windowed attention, depthwise convolution, feed-forward."""

    def __init__(self, block: TinyViTBlock) -> None:
        super().__init__()
        self.attn = FastWindowAttention(block.attn, block.window)
        self.local_conv = Depthwise(_folded(block.local_conv))
        self.mlp = FastMlp(block.mlp)

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """(B * rows * columns, dim) -> the same shape."""
        dim = x.shape[-1]
        x = self.attn(x, rows, columns)
        grid = self.local_conv(x.view(-1, rows, columns, dim).permute(0, 3, 1, 2))
        out: Tensor = self.mlp(grid.permute(0, 2, 3, 1).reshape(-1, dim))
        return out


class FastStage(nn.Module):
    """A stage of attention blocks."""

    def __init__(self, stage: AttentionStage) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            FastBlock(b) for b in stage.blocks if isinstance(b, TinyViTBlock)
        )
        merging = stage.downsample
        self.downsample = FastPatchMerging(merging) if isinstance(merging, PatchMerging) else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, out, H', W')."""
        dim, rows, columns = (int(n) for n in x.shape[1:])
        tokens = x.permute(0, 2, 3, 1).reshape(-1, dim)
        for block in self.blocks:
            tokens = block(tokens, rows, columns)
        x = tokens.view(-1, rows, columns, dim).permute(0, 3, 1, 2)
        return x if self.downsample is None else self.downsample(x)


class FastTinyViT(nn.Module):
    """The image encoder for inference.

    Args:
        encoder: the encoder it takes its weights from, in evaluation mode.

    Attributes:
        keep_float32: parts (as `named_modules` names them) that reduced precision would harm most.
            Most of what bfloat16 does to LiteMedSAM's embedding it does at the beginning, where it
            merges the 256 grey values of the input two by two, and in the steps between the stages:
            the relative error is 0.051 with nothing kept, 0.028 with these, for a fifth more time.
    """

    keep_float32 = ("patch_embed", "downsample", "first.0")

    def __init__(self, encoder: TinyViT) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        self.patch_embed = FastPatchEmbed(encoder.patch_embed)
        first = encoder.layers[0]
        assert isinstance(first, ConvStage)
        self.first = nn.Sequential(*(FastMBConv(b) for b in first.blocks if isinstance(b, MBConv)))
        self.downsample = FastPatchMerging(first.downsample)
        stages = (s for s in encoder.layers if isinstance(s, AttentionStage))
        self.stages = nn.Sequential(*(FastStage(stage) for stage in stages))
        self.neck = encoder.neck

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed slices -> (B, 256, 64, 64) embeddings."""
        x = self.downsample(self.first(self.patch_embed(x)))
        out: Tensor = self.neck(self.stages(x))
        return out
