"""SAM's ViT for inference: the same function of the same weights, with less to do and to hold.

The scale and shift of each normalisation go into the linear layer after it. Of the attention's biases,
that of the keys adds the same to all scores of a query and is dropped; that of the values passes
through the attention, whose weights sum to 1, into the projection. Then nothing is left of a padded
token, so tokens are projected before the grid is padded to whole windows, not after.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.sam.vit import Attention, Block, ViT
from promptseg.runtime.rewrite.ops import Linear, after_norm, as_graph

__all__ = ["FastViT"]

_CHUNKS = 4  # of the queries of one head, in graphs: their scores then stay in the cache


class FastAttention(nn.Module):
    """Attention with decomposed relative positions, inside windows or over the whole grid.

    Args:
        norm: the normalisation before it.
        attention: the layer it takes its weights from.
        window: side length of the windows; 0 for the whole grid.
    """

    def __init__(self, norm: nn.LayerNorm, attention: Attention, window: int) -> None:
        super().__init__()
        self.heads, self.window, self.scale = attention.heads, window, attention.scale
        self.eps = norm.eps
        self.dim = dim = attention.proj.in_features
        self.width = dim // self.heads
        weight, bias = after_norm(norm, attention.qkv)
        _, for_k, for_v = attention.qkv.bias.detach().chunk(3)
        self.qkv = Linear(weight, bias - torch.cat([torch.zeros(dim), for_k, for_v]))
        projection = attention.proj.weight.detach()
        self.proj = Linear(projection, attention.proj.bias.detach() + projection @ for_v)
        side = (len(attention.rel_pos_h) + 1) // 2
        steps = torch.arange(side)
        offsets = steps[:, None] - steps + side - 1
        self.register_buffer("rows", attention.rel_pos_h.detach()[offsets])
        self.register_buffer("columns", attention.rel_pos_w.detach()[offsets])
        unit = torch.eye(side)
        place = torch.cat([unit.repeat_interleave(side, 0), unit.repeat(side, 1)], dim=1)
        self.register_buffer("place", place)
        self.rows: Tensor  # (side, side, width): of a query's row, for each row of the keys
        self.columns: Tensor
        self.place: Tensor  # (tokens, 2 * side): one-hot row and column of each key

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> the same shape, what was attended to added."""
        b, h, w, dim = x.shape
        qkv = self.qkv(F.layer_norm(x, (dim,), eps=self.eps))
        n = self.window
        if n:
            down, across = -(-h // n), -(-w // n)
            qkv = F.pad(qkv, (0, 0, 0, across * n - w, 0, down * n - h))
            parts = qkv.view(b * down, n, across, n, 3, self.heads, self.width)
            parts = parts.permute(4, 0, 2, 5, 1, 3, 6)
            q, k, v = parts.reshape(3, -1, self.heads, n * n, self.width).unbind(0)
            y = self._attend_in_windows(q, k, v)
            y = y.view(b * down, across, self.heads, n, n, self.width).permute(0, 3, 1, 4, 2, 5)
            y = y.reshape(b, down * n, across * n, dim)[:, :h, :w]
        else:
            parts = qkv.view(b, h * w, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
            y = self._attend_everywhere(*parts.unbind(0))
            y = y.transpose(1, 2).reshape(b, h, w, dim)
        out: Tensor = self.proj(y, x)
        return out

    def _positions(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """(B, heads, tokens, width) queries -> what each adds to each row, and column, of keys."""
        n = len(self.rows)
        grid = q.reshape(*q.shape[:2], n, n, self.width)
        rows = grid @ self.rows.transpose(1, 2)
        columns = (grid.transpose(2, 3) @ self.columns.transpose(1, 2)).transpose(2, 3)
        return rows, columns

    def _attend_in_windows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """With the positions as a bias of tokens x tokens."""
        rows, columns = self._positions(q)
        tokens = q.shape[2]
        bias = (rows[..., :, None] + columns[..., None, :]).view(*q.shape[:2], tokens, tokens)
        if as_graph():
            scores = (q * self.scale) @ k.transpose(-1, -2) + bias
            return torch.softmax(scores, -1) @ v
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)

    def _attend_everywhere(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """With the positions as further channels, so that no bias is ever held.

        A key says in one-hot channels which row and column it is; a query says there what those are
        worth to it. The kernels that never hold the scores want values of the same width.
        """
        rows, columns = self._positions(q)
        queries = torch.cat([q * self.scale, rows.flatten(2, 3), columns.flatten(2, 3)], dim=-1)
        keys = torch.cat([k, self.place.to(k.dtype).expand(*k.shape[:2], -1, -1)], dim=-1)
        if as_graph():
            return self._attend_in_chunks(queries, keys.transpose(-1, -2), v)
        wide = F.pad(v, (0, queries.shape[-1] - self.width))
        y = F.scaled_dot_product_attention(queries, keys, wide, scale=1.0)
        return y[..., : self.width]

    def _attend_in_chunks(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The plain formula, head by head and some queries at a time, for engines that follow it."""
        tokens = int(queries.shape[2])
        step = tokens // _CHUNKS if tokens % _CHUNKS == 0 else tokens
        heads = []
        for h in range(self.heads):
            chunks = [
                torch.softmax(queries[:, h, k : k + step] @ keys[:, h], -1) @ values[:, h]
                for k in range(0, tokens, step)
            ]
            heads.append(torch.cat(chunks, dim=1))
        return torch.stack(heads, dim=1)


class FastBlock(nn.Module):
    """Attention, then a feed-forward."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.attn = FastAttention(block.norm1, block.attn, block.window)
        self.eps = block.norm2.eps
        self.widen = Linear(*after_norm(block.norm2, block.mlp.lin1), gelu=True)
        self.narrow = Linear(block.mlp.lin2.weight.detach(), block.mlp.lin2.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> the same shape."""
        x = self.attn(x)
        y = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        out: Tensor = self.narrow(self.widen(y), x)
        return out


class FastViT(nn.Module):
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
        self.blocks = nn.Sequential(*(FastBlock(b) for b in encoder.blocks if isinstance(b, Block)))
        self.neck = encoder.neck

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed slices -> (B, 256, S / patch, S / patch) embeddings."""
        tokens = self.blocks(self.patch_embed(x) + self.pos_embed)
        out: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return out
