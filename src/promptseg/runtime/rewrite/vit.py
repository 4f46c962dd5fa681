"""SAM's ViT for inference: the same function of the same weights, with less to do and to hold.

The scale and shift of each normalisation go into the linear layer after it. Of the attention's biases,
that of the keys adds the same to all scores of a query and is dropped; that of the values passes
through the attention, whose weights sum to 1, into the projection. Relative positions become further
channels: a key says in one-hot channels which row and column it is, a query says there what those are
worth to it, so no bias of tokens x tokens is held; in large grids, where such channels would cost much,
that is added to the scores of a few queries at a time. Tokens lie in a matrix (tokens, channels);
windows are taken from it and put back by one copy each, and no queries are beyond the grid's edge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.vit import Attention, Block, ViT
from promptseg.runtime.rewrite.attention import adding_pays, attend, attend_adding
from promptseg.runtime.rewrite.neck import FusedNeck
from promptseg.runtime.rewrite.ops import Linear, after_norm
from promptseg.runtime.rewrite.windows import NEVER, Group, full_keys, places, rows_of, windows_of

__all__ = ["FusedViT"]

_CHANNELS = 32  # products of matrices are quickest with a multiple of so many


class Positions(nn.Module):
    """Relative positions as channels of the queries: these add to the scores what positions do.

    Args:
        attention: the layer it takes its weights from.
        side: tokens along each side of the grid.
        window: tokens along each side of a window.
    """

    def __init__(self, attention: Attention, side: int, window: int) -> None:
        super().__init__()
        self.side = side
        offsets = torch.arange(side)[:, None] % window - torch.arange(window) + window - 1
        tables = (attention.rel_pos_h, attention.rel_pos_w)
        rows, columns = (
            table.detach()[offsets].transpose(1, 2) / attention.scale  # which queries carry
            for table in tables
        )
        self.register_buffer("rows", rows.contiguous())
        self.register_buffer("columns", columns.contiguous())
        self.rows: Tensor  # (side, width, window): of a query's row, for each row of the keys
        self.columns: Tensor
        used = attention.qkv.in_features // attention.heads + 2 * window + 1
        rest = torch.zeros(1 + -used % _CHANNELS)
        rest[0] = 1  # what says of a key that it is none counts for all queries
        self.register_buffer("rest", rest)
        self.rest: Tensor

    @property
    def channels(self) -> int:
        """Return the number of channels added to those of queries and keys."""
        return 2 * self.rows.shape[-1] + len(self.rest)

    def forward(self, q: Tensor) -> Tensor:
        """Map (B, tokens, heads, width) queries to (B, tokens, heads, channels)."""
        grid = q.view(len(q), self.side, self.side, *q.shape[2:])
        rows = self._by_line(grid, self.rows)
        columns = self._by_line(grid.transpose(1, 2), self.columns).transpose(1, 2)
        rest = self.rest.to(rows.dtype).expand(*grid.shape[:-1], -1)
        return torch.cat([rows, columns, rest], dim=-1).flatten(1, 2)

    def _by_line(self, q: Tensor, weights: Tensor) -> Tensor:
        """(B, side, ...) queries, those of each line by its own weights."""
        lines = q.transpose(0, 1).reshape(self.side, -1, q.shape[-1]) @ weights
        return lines.view(self.side, len(q), *q.shape[2:-1], -1).transpose(0, 1)

    def of_keys(self, tokens: int) -> Tensor:
        """Return the channels of keys, (keys, channels): each token's row and column, one-hot; the rest
        are no keys.
        """
        window = self.rows.shape[-1]
        unit = torch.eye(window)
        place = torch.cat([unit.repeat_interleave(window, 0), unit.repeat(window, 1)], dim=1)
        place = F.pad(place, (0, len(self.rest), 0, tokens - len(place)))
        place[window * window :, 2 * window] = NEVER
        return place


class WindowGroup(nn.Module):
    """The windows of a group attend to themselves.

    Args:
        group: the windows.
        heads: attention heads.
        positions: channels of the queries.
    """

    def __init__(self, group: Group, heads: int, positions: Positions) -> None:
        super().__init__()
        self.heads = heads
        keys = full_keys(group.tokens)
        slots = {"slots": 2 * heads + 1, "empty": 2 * heads}
        self.register_buffer("queries", rows_of(group.queries, heads, heads))
        self.register_buffer("keys", rows_of(keys, heads, **slots))
        self.register_buffer("values", rows_of(keys, heads, first=heads, **slots))
        self.register_buffer("place", positions.of_keys(keys.shape[1]))
        self.queries: Tensor
        self.keys: Tensor
        self.values: Tensor
        self.place: Tensor
        self.windows = len(group.tokens)
        self.side = positions.rows.shape[-1]
        self.whole = keys.shape[1] == self.side**2  # no key is none

    def forward(self, queries: Tensor, table: Tensor) -> Tensor:
        """Compute the attention of the queries to the keys of their windows.

        Args:
            queries: (B, tokens * heads, width + channels).
            table: (B, tokens * slots, width) keys, values and zeros.

        Returns:
            (B, windows * heads * queries, width).
        """
        b, width = len(table), table.shape[-1]
        shape = (b * self.windows, self.heads, -1)
        q = queries.index_select(1, self.queries).view(*shape, queries.shape[-1])
        k = table.index_select(1, self.keys).view(*shape, width)
        v = table.index_select(1, self.values).view(*shape, width)
        if self.whole and adding_pays(q, k):
            return attend_adding(q, k, v, self.side).reshape(b, -1, width)
        k = torch.cat([k, self.place.to(k.dtype).expand(*k.shape[:2], -1, -1)], dim=-1)
        return attend(q, k, v).reshape(b, -1, width)


class FusedAttention(nn.Module):
    """Attention with decomposed relative positions, inside windows.

    Args:
        norm: the normalisation before it.
        attention: the layer it takes its weights from.
        side: tokens along each side of the grid.
        window: tokens along each side of a window, which may be the whole grid.
    """

    def __init__(self, norm: nn.LayerNorm, attention: Attention, side: int, window: int) -> None:
        super().__init__()
        self.heads, self.eps, self.tokens = attention.heads, norm.eps, side * side
        self.dim = dim = attention.proj.in_features
        self.width = dim // self.heads
        weight, bias = after_norm(norm, attention.qkv)
        for_v = attention.qkv.bias.detach()[2 * dim :]
        self.queries = Linear(weight[:dim] * attention.scale, bias[:dim] * attention.scale)
        nothing = (0, 0, 0, self.width)  # the row of zeros that stands for no token
        bias = bias[dim:] - attention.qkv.bias.detach()[dim:]
        self.others = Linear(F.pad(weight[dim:], nothing), F.pad(bias, nothing[2:]))
        projection = attention.proj.weight.detach()
        self.proj = Linear(projection, attention.proj.bias.detach() + projection @ for_v)
        self.positions = Positions(attention, side, window)
        groups = windows_of(side, window)
        self.groups = nn.ModuleList(WindowGroup(g, self.heads, self.positions) for g in groups)
        self.register_buffer("places", places([g.queries for g in groups], self.heads))
        self.places: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * tokens, dim) to the same shape, what was attended to added."""
        y = F.layer_norm(x, (self.dim,), eps=self.eps)
        q = self.queries(y).view(-1, self.tokens, self.heads, self.width)
        table = self.others(y).view(-1, self.tokens * (2 * self.heads + 1), self.width)
        q = torch.cat([q, self.positions(q)], dim=-1).flatten(1, 2)
        y = torch.cat([group(q, table) for group in self.groups], dim=1)
        out: Tensor = self.proj(y.index_select(1, self.places).view(-1, self.dim), x)
        return out


class FusedBlock(nn.Module):
    """Attention, then a feed-forward."""

    def __init__(self, block: Block, side: int) -> None:
        super().__init__()
        self.attn = FusedAttention(block.norm1, block.attn, side, block.window or side)
        self.eps = block.norm2.eps
        self.widen = Linear(*after_norm(block.norm2, block.mlp.lin1), gelu=True)
        self.narrow = Linear(block.mlp.lin2.weight.detach(), block.mlp.lin2.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * tokens, dim) to the same shape."""
        x = self.attn(x)
        y = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        out: Tensor = self.narrow(self.widen(y), x)
        return out


class FusedViT(nn.Module):
    """The image encoder for inference.

    Args:
        encoder: the encoder it takes its weights from, in evaluation mode.

    Attributes:
        keep_float32: parts (as `named_modules` names them) that reduced precision would harm most.
    """

    keep_float32 = ("patch_embed",)

    def __init__(self, encoder: ViT) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        self.patch_embed, self.pos_embed = encoder.patch_embed, encoder.pos_embed
        side = encoder.pos_embed.shape[1]
        blocks = (b for b in encoder.blocks if isinstance(b, Block))
        self.blocks = nn.Sequential(*(FusedBlock(b, side) for b in blocks))
        self.neck = FusedNeck(encoder.neck, side)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, 256, S / patch, S / patch) embeddings."""
        tokens = (self.patch_embed(x) + self.pos_embed).flatten(0, 2)
        out: Tensor = self.neck(self.blocks(tokens))
        return out
