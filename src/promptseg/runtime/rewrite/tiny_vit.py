"""TinyViT for inference: the same function of the same weights, with less to do and to copy.

- Batch normalisation goes into the convolution before it, a pointwise patch embedding's second layer,
  which no activation follows, into the block after it.
- Layer normalisation keeps no scale and shift: the linear layer after it takes them in.
- Of the attention's biases, that of the keys adds the same to all scores of a query and is dropped;
  that of the values passes through the attention, whose weights sum to 1, into the projection. What is
  left of a padded token is 0, so the grid is never padded: in the windows that its edge cuts, one key
  stands for all tokens beyond.
- Tokens lie in a matrix (tokens, channels); windows are taken from it and put back by one copy each.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from promptseg.models.families.sam.tiny_vit import (
    AttentionStage,
    ConvBN,
    ConvStage,
    MBConv,
    Mlp,
    PatchMerging,
    TinyViT,
    TinyViTBlock,
    WindowAttention,
)
from promptseg.runtime.rewrite.neck import FusedNeck
from promptseg.runtime.rewrite.ops import Depthwise, Linear, Pointwise, after_norm
from promptseg.runtime.rewrite.windows import Group, places, rows_of, windows_of

__all__ = ["FusedTinyViT"]

_STRIPS = 8  # of the first stage; more save nothing


def _folded(layer: ConvBN) -> nn.Conv2d:
    conv: nn.Conv2d = fuse_conv_bn_eval(layer.c, layer.bn)
    return conv.requires_grad_(False)


def _composed(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Two pointwise convolutions as one."""
    assert first.bias is not None
    assert second.bias is not None
    one, two = (conv.weight.detach().double().flatten(1) for conv in (first, second))
    bias = two @ first.bias.detach().double() + second.bias.detach().double()
    both = copy(second)
    both.in_channels = first.in_channels
    both._parameters = {
        "weight": nn.Parameter((two @ one)[:, :, None, None].to(first.weight.dtype), False),
        "bias": nn.Parameter(bias.to(first.weight.dtype), False),
    }
    return both


def _with_own_bias(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, its weight shared and its bias not."""
    own = copy(conv)
    assert conv.bias is not None
    bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
    own._parameters = {**conv._parameters, "bias": bias}
    return own


def _with_borders(strips: Sequence[Tensor], k: int) -> Tensor:
    """A strip (B, C, h, W) with the row above it and the one below, where the image has them."""
    above = [strips[k - 1][:, :, -1:]] if k else []
    under = [strips[k + 1][:, :, :1]] if k + 1 < len(strips) else []
    return torch.cat([*above, strips[k], *under], dim=2)


class Strip(nn.Module):
    """An inverted residual for a strip of rows, with biases of its own.

    OpenVINO applies bias and GELU while it convolves only where no other layer has the same bias.

    Args:
        convs: the block's convolutions.
        embed: see `FusedMBConv`.
    """

    def __init__(self, convs: list[nn.Conv2d], embed: nn.Conv2d | None) -> None:
        super().__init__()
        widen, depthwise, narrow = (_with_own_bias(conv) for conv in convs)
        self.widen, self.narrow = Pointwise(widen, gelu=True), Pointwise(narrow)
        depthwise.padding = (0, 1)
        self.depthwise = Depthwise(depthwise, gelu=True)
        self.embed = None if embed is None else Pointwise(_with_own_bias(embed))

    def forward(self, strips: Sequence[Tensor], k: int) -> Tensor:
        """Map the `k`-th of strips, (B, in, h, W) each, to (B, dim, h, W)."""
        wide = self.widen(_with_borders(strips, k))
        beyond = (int(k == 0), int(k == len(strips) - 1))  # rows of zeros
        if any(beyond):
            wide = F.pad(wide, (0, 0, *beyond))
        own = strips[k] if self.embed is None else self.embed(strips[k])
        return F.gelu(self.narrow(self.depthwise(wide)) + own)


class FusedMBConv(nn.Module):
    """Inverted residual, strip by strip: what lies between two layers stays in the cache.

    Args:
        block: the block it takes its weights from.
        embed: a linear layer of pixels before it, which is made one with the block's first layer.
    """

    def __init__(self, block: MBConv, embed: nn.Conv2d | None = None) -> None:
        super().__init__()
        convs = [_folded(conv) for conv in (block.conv1, block.conv2, block.conv3)]
        if embed is not None:
            convs[0] = _composed(embed, convs[0])
        self.strips = nn.ModuleList(Strip(convs, embed) for _ in range(_STRIPS))

    def forward(self, strips: Sequence[Tensor]) -> list[Tensor]:
        """Map strips (B, in, h, W) of an image to (B, dim, h, W)."""
        return [strip(strips, k) for k, strip in enumerate(self.strips)]


class FusedPatchMerging(nn.Module):
    """Changes the width and halves the resolution between stages.

    Args:
        merging: the step it takes its weights from.

    Attributes:
        stride: pixels on the way in for one on the way out.
    """

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        self.stride = merging.conv2.c.stride[0]
        self.widen = Pointwise(_folded(merging.conv1), gelu=True)
        self.depthwise = Depthwise(_folded(merging.conv2), gelu=True)
        self.mix = Pointwise(_folded(merging.conv3))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to (B, out, H', W')."""
        out: Tensor = self.mix(self.depthwise(self.widen(x)))
        return out


class FusedWindowAttention(nn.Module):
    """Attention inside windows.

    Args:
        attention: the layer it takes its weights from.
        groups: the windows.
    """

    def __init__(self, attention: WindowAttention, groups: Sequence[Group]) -> None:
        super().__init__()
        self.heads, self.eps = attention.heads, attention.norm.eps
        self.dim = dim = attention.proj.in_features
        self.width = dim // self.heads
        weight, bias = after_norm(attention.norm, attention.qkv)
        q, k, v = weight.view(self.heads, 3, self.width, dim).unbind(1)
        for_q, _, for_v = (b.flatten() for b in bias.view(self.heads, 3, self.width).unbind(1))
        scale = self.width**-0.5
        empty = torch.zeros(self.width, dim)  # the row of zeros that stands for no token
        weight = torch.cat([(q * scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), empty])
        self.qkv = Linear(weight, F.pad(for_q * scale, (0, len(weight) - len(for_q))))
        projection = attention.proj.weight.detach()
        self.proj = Linear(projection, attention.proj.bias.detach() + projection @ for_v)
        offsets = attention.attention_biases[:, attention.attention_bias_idxs].detach()
        self.groups = nn.ModuleList(WindowGroup(group, offsets) for group in groups)
        self.register_buffer("places", places([g.queries for g in groups], self.heads))
        self.places: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * tokens, dim) to the tokens with what they attended to."""
        qkv = self.qkv(F.layer_norm(x, (self.dim,), eps=self.eps))
        table = qkv.view(-1, len(self.places) // self.heads * (3 * self.heads + 1), self.width)
        y = torch.cat([group(table) for group in self.groups], dim=1)
        out: Tensor = self.proj(y.index_select(1, self.places).view(-1, self.dim), x)
        return out


class WindowGroup(nn.Module):
    """The windows of a group attend to themselves.

    Args:
        group: the windows.
        offsets: (heads, window * window, window * window) bias of queries and keys.
    """

    def __init__(self, group: Group, offsets: Tensor) -> None:
        super().__init__()
        heads = len(offsets)
        bias = group.bias(offsets)
        keys = F.pad(group.queries, (0, bias.shape[-1] - bias.shape[-2]), value=-1)
        self.register_buffer("bias", bias)
        slots = {"slots": 3 * heads + 1, "empty": 3 * heads}
        self.register_buffer("queries", rows_of(group.queries, heads, **slots))
        self.register_buffer("keys", rows_of(keys, heads, first=heads, **slots))
        self.register_buffer("values", rows_of(keys, heads, first=2 * heads, **slots))
        self.bias: Tensor
        self.queries: Tensor
        self.keys: Tensor
        self.values: Tensor

    def forward(self, table: Tensor) -> Tensor:
        """Map (B, tokens * slots, width) to (B, windows * heads * queries, width)."""
        b, _, width = table.shape
        _, alike, queries, keys = self.bias.shape
        q = table.index_select(1, self.queries).view(-1, alike, queries, width)
        k = table.index_select(1, self.keys).view(-1, alike, keys, width)
        v = table.index_select(1, self.values).view(-1, alike, keys, width)
        y = torch.softmax(q @ k.transpose(-1, -2) + self.bias, -1) @ v
        return y.view(b, -1, width)


class FusedMlp(nn.Module):
    """Normalised feed-forward."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.eps = mlp.norm.eps
        self.widen = Linear(*after_norm(mlp.norm, mlp.fc1), gelu=True)
        self.narrow = Linear(mlp.fc2.weight.detach(), mlp.fc2.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map (tokens, dim) to the same shape, the tokens added."""
        y = self.widen(F.layer_norm(x, x.shape[-1:], eps=self.eps))
        out: Tensor = self.narrow(y, x)
        return out


class FusedBlock(nn.Module):
    """Windowed attention, depthwise convolution, feed-forward."""

    def __init__(self, block: TinyViTBlock, side: int) -> None:
        super().__init__()
        self.side = side
        self.attn = FusedWindowAttention(block.attn, windows_of(side, block.window))
        self.local_conv = Depthwise(_folded(block.local_conv))
        self.mlp = FusedMlp(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * side * side, dim) to the same shape."""
        dim = x.shape[-1]
        x = self.attn(x)
        grid = self.local_conv(x.view(-1, self.side, self.side, dim).permute(0, 3, 1, 2))
        out: Tensor = self.mlp(grid.permute(0, 2, 3, 1).reshape(-1, dim))
        return out


class FusedStage(nn.Module):
    """A stage of attention blocks.

    Args:
        stage: the stage it takes its weights from.
        side: tokens along each side of its grid.

    Attributes:
        out: tokens along each side of the next grid.
    """

    def __init__(self, stage: AttentionStage, side: int) -> None:
        super().__init__()
        self.side = side
        self.blocks = nn.Sequential(
            *(FusedBlock(b, side) for b in stage.blocks if isinstance(b, TinyViTBlock))
        )
        merging = stage.downsample
        self.downsample = FusedPatchMerging(merging) if isinstance(merging, PatchMerging) else None
        self.out = side if self.downsample is None else side // self.downsample.stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, side, side) to (B, out, H', W')."""
        dim = x.shape[1]
        tokens = self.blocks(x.permute(0, 2, 3, 1).reshape(-1, dim))
        x = tokens.view(-1, self.side, self.side, dim).permute(0, 3, 1, 2)
        return x if self.downsample is None else self.downsample(x)


class FusedRest(nn.Module):
    """Rest of the encoder, after its first stage.

    Args:
        encoder: the encoder it takes its weights from.
        side: pixels along each side of the first stage's grid.
    """

    def __init__(self, encoder: TinyViT, side: int) -> None:
        super().__init__()
        first, *others = encoder.layers
        assert isinstance(first, ConvStage)
        self.downsample = FusedPatchMerging(first.downsample)
        side //= self.downsample.stride
        stages = []
        for stage in others:
            assert isinstance(stage, AttentionStage)
            stages.append(FusedStage(stage, side))
            side = stages[-1].out
        self.stages = nn.Sequential(*stages)
        self.neck = FusedNeck(encoder.neck, side)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, side, side) to (B, 256, 64, 64) embeddings."""
        x = self.stages(self.downsample(x))
        out: Tensor = self.neck(x.permute(0, 2, 3, 1).flatten(0, 2))
        return out


class FusedTinyViT(nn.Module):
    """The image encoder for inference.

    Args:
        encoder: the encoder it takes its weights from, in evaluation mode.

    Attributes:
        keep_float32: parts (as `named_modules` names them) that reduced precision would harm most: in
            the input lie 256 grey values, which bfloat16 would merge two by two.
        side: pixels along each side of the first stage's grid.
    """

    keep_float32 = ("patch_embed", "embed")

    def __init__(self, encoder: TinyViT) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        begin, _, end = encoder.patch_embed.seq
        assert isinstance(begin, ConvBN)
        assert isinstance(end, ConvBN)
        embed: nn.Conv2d | None = None
        if begin.c.kernel_size == (1, 1):
            self.patch_embed: nn.Module = Pointwise(_folded(begin), gelu=True)
            embed = _folded(end)
        else:
            convs = Depthwise(_folded(begin), gelu=True), Depthwise(_folded(end))
            self.patch_embed = nn.Sequential(*convs)
        first = encoder.layers[0]
        assert isinstance(first, ConvStage)
        head, *rest = (b for b in first.blocks if isinstance(b, MBConv))
        self.first = nn.Sequential(FusedMBConv(head, embed), *(FusedMBConv(b) for b in rest))
        self.side = encoder.img_size // (begin.c.stride[0] * end.c.stride[0])
        self.rest = FusedRest(encoder, self.side)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, 256, 64, 64) embeddings."""
        strips = self.first(self.patch_embed(x).split(self.side // _STRIPS, dim=2))
        out: Tensor = self.rest(torch.cat(strips, dim=2))
        return out
