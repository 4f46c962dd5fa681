"""SAM 2's memory attention for inference: the same function of the same weights, with less to multiply.

Memory has a quarter of the channels that its values get. Attention gives a mean of values, and a mean
of linear functions is that function of the mean: so the memory itself is averaged, and the layers for
values and answers are one, applied to what comes out. Pairs of channels that rotate together are put
half a width apart, in queries and keys alike, so that turning them is four products of whole halves.
Scale and shift of normalisations go into the layers after them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam2.memory_attention import (
    MemoryAttention,
    MemoryAttentionLayer,
    RotaryAttention,
)
from promptseg.runtime.rewrite.ops import Linear, after_norm, as_graph

__all__ = ["FusedMemoryAttention"]

_QUERIES = 512  # attended at a time in graphs, so that their scores stay in the cache


class FusedRotary(nn.Module):
    """Attention of one head, turned by places, and the residual.

    Args:
        norm: the normalisation before the queries.
        attention: the layer it takes its weights from.
        on_itself: whether keys and values come from the normalised queries, too.
    """

    def __init__(self, norm: nn.LayerNorm, attention: RotaryAttention, on_itself: bool) -> None:
        super().__init__()
        self.norm, self.eps = norm.normalized_shape, norm.eps
        dim = attention.q_proj.out_features
        halves = torch.cat([torch.arange(0, dim, 2), torch.arange(1, dim, 2)])
        weight, bias = after_norm(norm, attention.q_proj)
        scale = dim**-0.5
        self.q = Linear(weight[halves] * scale, bias[halves] * scale)
        weight, bias = _given(norm, attention.k_proj, on_itself)
        self.k = Linear(weight[halves], bias[halves])
        weight, bias = (t.double() for t in _given(norm, attention.v_proj, on_itself))
        out = attention.out_proj.weight.detach().double()
        constant = out @ bias + attention.out_proj.bias.detach().double()
        self.out = Linear((out @ weight).float(), constant.float())
        self.register_buffer("cosines", attention.cosines.clone())
        self.register_buffer("sines", attention.sines.clone())
        self.cosines: Tensor  # (n, dim / 2)
        self.sines: Tensor

    def normed(self, x: Tensor) -> Tensor:
        """Compute the normalised tokens that the queries are made of."""
        return F.layer_norm(x, self.norm, eps=self.eps)

    def forward(
        self, x: Tensor, y: Tensor, keys: Tensor, values: Tensor, placeless: Tensor | None = None
    ) -> Tensor:
        """Map (B, n, dim) to the same shape.

        Args:
            x: what is added to.
            y: x, normalised.
            keys: (B, maps * n, channels) what has a place.
            values: (B, maps * n + m, channels) what is averaged.
            placeless: (B, m, channels) keys that have no place.
        """
        k = self._turned(self.k(keys))
        if placeless is not None:
            k = torch.cat([k, self.k(placeless)], dim=1)
        out: Tensor = self.out(mean_of(self._turned(self.q(y)), k, values), x)
        return out

    def _turned(self, x: Tensor) -> Tensor:
        """(B, maps * n, dim) with every pair of channels turned by its place."""
        n = self.cosines.shape[0]
        grids = x.view(x.shape[0], -1, n, x.shape[-1])
        a, b = grids.chunk(2, dim=-1)
        cosines, sines = self.cosines.to(x.dtype), self.sines.to(x.dtype)
        turned = torch.cat([a * cosines - b * sines, a * sines + b * cosines], dim=-1)
        return turned.view(x.shape)


class FusedLayer(nn.Module):
    """The frame looks at itself, at the memory, and goes through a feed-forward."""

    def __init__(self, layer: MemoryAttentionLayer) -> None:
        super().__init__()
        self.itself = FusedRotary(layer.norm1, layer.self_attn, on_itself=True)
        self.memory = FusedRotary(layer.norm2, layer.cross_attn_image, on_itself=False)
        self.norm, self.eps = layer.norm3.normalized_shape, layer.norm3.eps
        self.widen = Linear(*after_norm(layer.norm3, layer.linear1))
        self.narrow = Linear(layer.linear2.weight.detach(), layer.linear2.bias.detach())

    def forward(self, x: Tensor, keys: Tensor, pointers: Tensor, values: Tensor) -> Tensor:
        """Map (B, n, dim) frame, (B, maps * n, M) and (B, m, M) keys, and their values to (B, n,
        dim).
        """
        y = self.itself.normed(x)
        x = self.itself(x, y, y, y)
        x = self.memory(x, self.memory.normed(x), keys, values, pointers)
        y = F.relu(self.widen(F.layer_norm(x, self.norm, eps=self.eps)))
        out: Tensor = self.narrow(y, x)
        return out


class FusedMemoryAttention(nn.Module):
    """Memory attention for inference.

    Args:
        attention: the part it takes its weights from, in evaluation mode.
        position: (1, dim, h, w) where the cells of a frame are.
    """

    keep_float32: tuple[str, ...] = ()

    def __init__(self, attention: MemoryAttention, position: Tensor) -> None:
        super().__init__()
        layers = (layer for layer in attention.layers if isinstance(layer, MemoryAttentionLayer))
        self.layers = nn.ModuleList(FusedLayer(layer) for layer in layers)
        self.norm = attention.norm
        self.register_buffer("position", 0.1 * position.detach().flatten(2).transpose(1, 2))
        self.position: Tensor

    def forward(
        self, features: Tensor, maps: Tensor, places: Tensor, pointers: Tensor, times: Tensor
    ) -> Tensor:
        """Return the features of a frame, conditioned on memory.

        Args:
            features: (B, dim, h, w).
            maps: (B, maps * h * w, M) tokens of maps.
            places: the same shape: where and when they are.
            pointers: (B, m, M) tokens of pointers; m may be 0.
            times: the same shape: when they are.

        Returns:
            (B, dim, h, w).
        """
        h, w = (int(n) for n in features.shape[-2:])
        x = features.permute(0, 2, 3, 1).flatten(1, 2) + self.position
        values = torch.cat([maps, pointers], dim=1)
        keys, timed = maps + places, pointers + times
        for layer in self.layers:
            x = layer(x, keys, timed, values)
        grid: Tensor = self.norm(x).unflatten(1, (h, w))
        return grid.permute(0, 3, 1, 2)


def mean_of(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention of scaled queries (B, n, dim) to keys (B, m, dim) and values (B, m, C)."""
    if as_graph():
        keys = k.transpose(1, 2)
        n = int(q.shape[1])
        step = min(n, _QUERIES)
        parts = (torch.softmax(q[:, at : at + step] @ keys, -1) @ v for at in range(0, n, step))
        return torch.cat(list(parts), dim=1)
    wide = F.pad(
        v.to(q.dtype), (0, q.shape[-1] - v.shape[-1])
    )  # one width for all, to hold no scores
    y: Tensor = F.scaled_dot_product_attention(q[:, None], k[:, None], wide[:, None], scale=1.0)
    return y[:, 0, :, : v.shape[-1]]


def _given(norm: nn.LayerNorm, layer: nn.Linear, on_itself: bool) -> tuple[Tensor, Tensor]:
    """Weight and bias of what keys or values are made with."""
    if on_itself:
        return after_norm(norm, layer)
    return layer.weight.detach(), layer.bias.detach()
