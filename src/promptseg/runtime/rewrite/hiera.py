"""Hiera and its neck for inference: the same function of the same weights, with nothing moved about.

Tokens lie window by window, and within a window in quadruples of quadruples: four that pooling makes
one are neighbours. Windows of one stage are those of the next after pooling, so tokens are put in order
when they come in and before the third stage, whose windows are larger; attention over the whole grid
asks for no order. Windows that the grid's edge cuts hold the tokens on the grid alone; as keys, what
lies beyond is zeros, since the bias of the keys is dropped and that of the values moves into the
projection, as in `promptseg.runtime.rewrite.vit`. Features of the two finest stages go into the mask
decoder alone: the neck's layer and the decoder's, with nothing between them, are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam2.neck import FpnNeck, ImageEncoder
from promptseg.models.families.sam2.trunk import (
    Hiera,
    MultiScaleAttention,
    MultiScaleBlock,
    PatchEmbed,
)
from promptseg.runtime.rewrite.attention import attend
from promptseg.runtime.rewrite.ops import Linear, after_norm

__all__ = ["FusedHiera", "can_nest"]

_POOLED = 4  # tokens that pooling makes one


class Windows(NamedTuple):
    """Windows of one size, one after the other.

    Attributes:
        number: how many.
        tokens: that each holds.
        beyond: tokens of it that lie beyond the grid.
    """

    number: int
    tokens: int
    beyond: int = 0

    def pooled(self) -> Windows:
        """Return the same windows after pooling, when each four tokens have become one."""
        return Windows(self.number, self.tokens // _POOLED, self.beyond // _POOLED)


class FusedAttention(nn.Module):
    """Attention within windows, or over the whole grid, and the residual.

    Args:
        norm: the normalisation before it.
        attention: the layer it takes its weights from.
        shortcut: what makes the residual where widths change.
        windows: of the tokens that come in.
    """

    def __init__(
        self,
        norm: nn.LayerNorm,
        attention: MultiScaleAttention,
        shortcut: nn.Linear | None,
        windows: Sequence[Windows],
    ) -> None:
        super().__init__()
        self.heads, self.pooled, self.windows = attention.heads, attention.pooled, tuple(windows)
        self.out = out = attention.proj.in_features
        self.norm, self.eps = norm.normalized_shape, norm.eps
        weight, bias = after_norm(norm, attention.qkv)
        own = attention.qkv.bias.detach()
        bias = torch.cat([bias[:out], bias[out:] - own[out:]])
        scale = torch.ones_like(bias)
        scale[:out] = (out // self.heads) ** -0.5
        self.qkv = Linear(weight * scale[:, None], bias * scale)
        projection = attention.proj.weight.detach()
        constant = projection @ own[2 * out :] + attention.proj.bias.detach()
        self.proj = Linear(projection, constant)
        self.shortcut = Linear(*after_norm(norm, shortcut)) if shortcut is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, tokens, dim) to (B, tokens or a quarter of them, out)."""
        y = F.layer_norm(x, self.norm, eps=self.eps)
        residual = x if self.shortcut is None else self.shortcut(y)
        q, k, v = self.qkv(y).split(self.out, dim=-1)
        if self.pooled:
            q, residual = largest(q), largest(residual)
        groups, begin = [], 0
        for group in self.windows:
            asking = group.pooled() if self.pooled else group
            first = begin // _POOLED if self.pooled else begin
            groups.append(self._attend(q, k, v=v, keys=group, asking=asking, at=begin, first=first))
            begin += group.number * group.tokens
        y = groups[0] if len(groups) == 1 else torch.cat(groups, dim=1)
        out: Tensor = self.proj(y, residual)
        return out

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, keys: Windows, asking: Windows, at: int, first: int
    ) -> Tensor:
        """(B, tokens, out) of the windows of one size."""
        inside = slice(at, at + keys.number * keys.tokens)
        k, v = (self._split(x[:, inside], keys) for x in (k, v))
        if keys.beyond:
            k, v = (F.pad(x, (0, 0, 0, keys.beyond)) for x in (k, v))
        q = self._split(q[:, first : first + asking.number * asking.tokens], asking)
        y: Tensor = attend(q, k, v).transpose(1, 2)
        return y.reshape(-1, asking.number * asking.tokens, self.out)

    def _split(self, x: Tensor, windows: Windows) -> Tensor:
        """(B, count * n, out) -> (B * count, heads, n, out / heads)."""
        return x.reshape(-1, windows.tokens, self.heads, self.out // self.heads).transpose(1, 2)


class FusedBlock(nn.Module):
    """Attention, then a feed-forward."""

    def __init__(self, block: MultiScaleBlock, windows: Sequence[Windows]) -> None:
        super().__init__()
        self.attn = FusedAttention(block.norm1, block.attn, block.proj, windows)
        self.norm, self.eps = block.norm2.normalized_shape, block.norm2.eps
        widen, narrow = block.mlp.layers
        assert isinstance(widen, nn.Linear)
        assert isinstance(narrow, nn.Linear)
        self.widen = Linear(*after_norm(block.norm2, widen), gelu=True)
        self.narrow = Linear(narrow.weight.detach(), narrow.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, tokens, dim) to (B, tokens or a quarter of them, out)."""
        x = self.attn(x)
        out: Tensor = self.narrow(self.widen(F.layer_norm(x, self.norm, eps=self.eps)), x)
        return out


class Patches(nn.Module):
    """Patches at their places, in the order of the windows."""

    def __init__(self, embed: PatchEmbed, position: Tensor, order: Tensor) -> None:
        super().__init__()
        self.embed = embed
        self.register_buffer("position", position)
        self.register_buffer("order", order)
        self.position: Tensor
        self.order: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, tokens, width)."""
        patches: Tensor = self.embed(x) + self.position
        return patches.flatten(1, 2).index_select(1, self.order)


class Lateral(nn.Module):
    """Features of a stage at the width of what takes them, back on the grid.

    Args:
        conv: the neck's layer.
        then: the mask decoder's, where there is one.
        order: where each place of the grid lies among the tokens.
    """

    def __init__(self, conv: nn.Conv2d, then: nn.Conv2d | None, order: Tensor) -> None:
        super().__init__()
        weight, bias = _as_matrix(conv)
        if then is not None:
            further, constant = _as_matrix(then)
            weight, bias = further @ weight, further @ bias + constant
        self.linear = Linear(weight.float(), bias.float())
        self.side = round(len(order) ** 0.5)
        self.register_buffer("order", order)
        self.order: Tensor

    def forward(self, x: Tensor, more: Tensor | None = None) -> Tensor:
        """Map (B, tokens, dim) to (B, C, h, w), channels last in memory; `more` is added before."""
        y: Tensor = self.linear(x, more)
        y = y.index_select(1, self.order).unflatten(1, (self.side, self.side))
        return y.permute(0, 3, 1, 2)


class FusedHiera(nn.Module):
    """Trunk, neck and the decoder's layers on the finer features, for inference.

    Args:
        encoder: the encoder it takes its weights from, in evaluation mode; see `can_nest`.
        fine: what the mask decoder makes of the finest features.
        middle: what it makes of those after them.
        size: pixels along each side of the input.

    Attributes:
        keep_float32: parts (as `named_modules` names them) that reduced precision would harm most.
    """

    keep_float32 = ("patches",)

    def __init__(
        self, encoder: ImageEncoder, fine: nn.Conv2d, middle: nn.Conv2d, size: int
    ) -> None:
        super().__init__()
        trunk, neck = encoder.trunk, encoder.neck
        self.img_size, side = size, size // 4
        first, third = _window_sides(trunk)
        order = nested(side, first)
        self.patches = Patches(trunk.patch_embed, trunk.position(side, side).detach(), order)
        self.last = tuple(trunk.last)
        through = nested(side // 4, third)
        self.register_buffer("larger", _inverse(nested(side // 4, first // 4))[through])
        self.larger: Tensor
        windows = _windows_by_stage(side, first, third)
        blocks = []
        for number, block in enumerate(_blocks(trunk)):
            stage = sum(number > last for last in self.last)
            entering = stage - 1 if block.attn.pooled else stage
            whole = [Windows(1, (side >> entering) ** 2)]
            blocks.append(FusedBlock(block, windows[entering] if block.window else whole))
        self.blocks = nn.ModuleList(blocks)
        convs = list(_convs(neck))
        self.fine = Lateral(convs[3], fine, _inverse(order))
        self.middle = Lateral(convs[2], middle, _inverse(nested(side // 2, first // 2)))
        self.coarse = Lateral(convs[1], None, _inverse(through))
        weight, bias = _as_matrix(convs[0])
        self.coarsest = Linear(weight.float(), bias.float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, S, S) to features at strides of 4, 8 and 16 pixels, as `Features` has them."""
        x = self.patches(x)
        stages = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == self.last[1] + 1:
                x = x.index_select(1, self.larger)
            if number in self.last:
                stages.append(x)
        above = self.coarsest(stages[3])[:, :, None].expand(-1, -1, _POOLED, -1).flatten(1, 2)
        return self.fine(stages[0]), self.middle(stages[1]), self.coarse(stages[2], above)


def can_nest(encoder: ImageEncoder, size: int) -> bool:
    """Tell whether the windows of each stage are those of the stage before, halved, but for the
    third's.
    """
    blocks, last = list(_blocks(encoder.trunk)), encoder.trunk.last
    if [number for number, block in enumerate(blocks) if block.attn.pooled] != [
        end + 1 for end in last[:3]
    ]:
        return False
    first, third = _window_sides(encoder.trunk)
    stages = [
        blocks[begin : end + 1]
        for begin, end in zip([0, *(n + 1 for n in last[:3])], last, strict=True)
    ]
    expected = (first, first // 2, third, third // 2)
    as_expected = all(
        block.window in (0, expected[stage - 1] if block.attn.pooled else side)
        for stage, (side, own) in enumerate(zip(expected, stages, strict=True))
        for block in own
    )
    return as_expected and first % 8 == 0 and third % 2 == 0 and size // 4 % first == 0


def largest(x: Tensor) -> Tensor:
    """Map (B, n, C) to (B, n / 4, C): of each four the largest."""
    fours: Tensor = x.unflatten(1, (-1, _POOLED))
    return fours.amax(2)


def nested(side: int, window: int) -> Tensor:
    """Return the places of a grid, numbered row by row, in the order in which its tokens lie in memory.

    Args:
        side: tokens along each side of the grid.
        window: tokens along each side of a window; windows at the edge may be cut. Those that are
            whole come first, then the cut ones at the right, at the bottom, and the one in the corner.

    Returns:
        (side * side,)
    """
    grid = torch.arange(side * side).view(side, side)
    whole = side // window * window
    spans = [(slice(0, whole), window), (slice(whole, side), side - whole)]
    parts = [
        _by_window(grid[rows, columns], height, width)
        for rows, height in spans
        for columns, width in spans
        if grid[rows, columns].numel()
    ]
    return torch.cat(parts)


def _by_window(grid: Tensor, height: int, width: int) -> Tensor:
    """The entries of a grid, window by window, as deep in quadruples as the window's sides allow."""
    windows = grid.unflatten(1, (-1, width)).unflatten(0, (-1, height)).transpose(1, 2)
    return _quadruples(windows.flatten(0, 1)).flatten()


def _quadruples(grids: Tensor) -> Tensor:
    """(n, h, w) -> (n, h * w): neighbours first, then what they are part of."""
    if grids.shape[1] % 2 or grids.shape[2] % 2:
        return grids.flatten(1)
    quads = grids.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # n, h / 2, 2, w / 2, 2
    order = _quadruples(quads.permute(0, 2, 4, 1, 3).flatten(0, 2))
    lines: Tensor = order.view(len(grids), _POOLED, -1).transpose(1, 2)
    return lines.flatten(1)


def _windows_by_stage(side: int, first: int, third: int) -> list[list[Windows]]:
    """The windows of the four stages, in the order of `nested`."""
    count = (side // first) ** 2
    coarse = side // 4
    whole, rest = coarse // third, coarse % third
    sizes = [(whole**2, third**2), (whole, third * rest), (whole, rest * third), (1, rest**2)]
    large = [
        Windows(number, tokens, third**2 - tokens) for number, tokens in sizes if number and tokens
    ]
    return [
        [Windows(count, first**2)],
        [Windows(count, first**2 // 4)],
        large,
        [windows.pooled() for windows in large],
    ]


def _window_sides(trunk: Hiera) -> tuple[int, int]:
    """Sides of the windows of the first stage and of the third."""
    blocks = list(_blocks(trunk))
    return blocks[0].window, blocks[trunk.last[2] + 1].window


def _blocks(trunk: Hiera) -> list[MultiScaleBlock]:
    return [block for block in trunk.blocks if isinstance(block, MultiScaleBlock)]


def _convs(neck: FpnNeck) -> list[nn.Conv2d]:
    convs = [layer.get_submodule("conv") for layer in neck.convs]
    return [conv for conv in convs if isinstance(conv, nn.Conv2d)]


def _as_matrix(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a 1 x 1 convolution, in float64."""
    assert conv.bias is not None
    return conv.weight.detach().flatten(1).double(), conv.bias.detach().double()


def _inverse(order: Tensor) -> Tensor:
    return order.argsort()
