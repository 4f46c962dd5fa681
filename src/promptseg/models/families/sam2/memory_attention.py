"""Memory attention of SAM 2: what a frame shows, in the light of what is remembered of an object."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam2.positions import rotated, rotations

__all__ = ["MemoryAttention"]


class RotaryAttention(nn.Module):
    """Attention of one head whose queries and keys are turned by their place on the grid.

    Args:
        dim: of the queries, and inside.
        memory: channels of keys and values.
        side: of the grid.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, dim: int, memory: int, side: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(memory, dim)
        self.v_proj = nn.Linear(memory, dim)
        self.out_proj = nn.Linear(dim, dim)
        cosines, sines = rotations(dim, side)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, placeless: int = 0) -> Tensor:
        """Map (B, n, dim) queries of one grid to (B, n, dim).

        Args:
            q: queries; those of one grid (1, n, dim) serve all B objects.
            k: (B, m, memory) keys of any number of grids, then those that have no place.
            v: (B, m, memory) values.
            placeless: how many keys have no place.
        """
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        q = rotated(q, self.cosines, self.sines)
        placed = k.shape[1] - placeless
        turned = rotated(k[:, :placed], self.cosines, self.sines)
        k = turned if placeless == 0 else torch.cat([turned, k[:, placed:]], dim=1)
        q = q.expand(k.shape[0], -1, -1)
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out: Tensor = self.out_proj(y)
        return out


class MemoryAttentionLayer(nn.Module):
    """The frame looks at itself, at the memory, and goes through a feed-forward."""

    def __init__(self, dim: int, memory: int, side: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(dim, dim, side)
        self.cross_attn_image = RotaryAttention(dim, memory, side)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor, position: Tensor, placeless: int) -> Tensor:
        """See `MemoryAttention.forward`; `x` and what is given back are (B, n, dim)."""
        own = self.norm1(x)
        x = x + self.self_attn(own, own, own)
        x = x + self.cross_attn_image(self.norm2(x), memory + position, memory, placeless)
        out: Tensor = x + self.linear2(F.relu(self.linear1(self.norm3(x))))
        return out


class MemoryAttention(nn.Module):
    """Four layers.

    Args:
        dim: channels of the frame's features.
        memory: channels of the memory.
        side: of the grid of both.
        depth: number of layers.
        hidden: width of the feed-forward.
    """

    def __init__(
        self, dim: int, memory: int, side: int, depth: int = 4, hidden: int = 2048
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(dim, memory, side, hidden) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        features: Tensor,
        features_position: Tensor,
        memory: Tensor,
        memory_position: Tensor,
        placeless: int = 0,
    ) -> Tensor:
        """Return the features of a frame, conditioned on memory.

        Args:
            features: (B, dim, h, w), or (1, dim, h, w) of a frame that all B objects are on.
            features_position: (1, dim, h, w).
            memory: (B, m, memory) tokens of maps, then of pointers.
            memory_position: (B or 1, m, memory) where and when they are.
            placeless: how many of the tokens are of pointers.

        Returns:
            (B, dim, h, w).
        """
        x = (features + 0.1 * features_position).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, memory, memory_position, placeless)
        conditioned: Tensor = self.norm(x).transpose(1, 2).unflatten(2, features.shape[-2:])
        return conditioned
