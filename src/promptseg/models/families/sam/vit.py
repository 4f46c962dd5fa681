"""The plain vision transformer of SAM (Kirillov et al., 2023; ViTDet, Li et al., ECCV 2022).

A grid of 16-pixel patches goes through blocks of attention, most of them inside windows of 14 x 14,
four of them over the whole grid. Both know how far apart two patches are through decomposed relative
positions (MViTv2, Li et al., CVPR 2022): to q . k is added q . r_row[offset of rows] and
q . r_column[offset of columns]. Parameter names are those of the official checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import LayerNorm2d, MLPBlock

__all__ = ["ViT"]

_EPS = 1e-6
_MOST_BIASED = 1024  # tokens up to which attention takes its bias as a tensor of tokens x tokens


class PatchEmbed(nn.Module):
    """RGB to the first grid, one token per patch."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) to (B, S / patch, S / patch, dim)."""
        out: Tensor = self.proj(x)
        return out.permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head attention over a square grid, with relative positions.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        grid: side length of the grid.
    """

    def __init__(self, dim: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, dim // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, grid, grid, dim) to the same shape."""
        b, n, _, dim = x.shape
        qkv = self.qkv(x).view(b, n * n, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rows, columns = self._positions(q, n)
        attend = _attend_biased if n * n <= _MOST_BIASED else _attend_folded
        y = attend(q, k, v, rows, columns, self.scale)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(b, n, n, dim))
        return out

    def _positions(self, q: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """(B, heads, n * n, d) queries -> what each adds to each row, and column: (..., n * n, n)."""
        steps = torch.arange(n, device=q.device)
        offsets = steps[:, None] - steps + n - 1
        grid = q.reshape(*q.shape[:2], n, n, -1)
        rows = torch.einsum("bmyxd,ykd->bmyxk", grid, self.rel_pos_h[offsets])
        columns = torch.einsum("bmyxd,xkd->bmyxk", grid, self.rel_pos_w[offsets])
        return rows.flatten(2, 3), columns.flatten(2, 3)


def _attend_biased(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """Attention with the positions as a bias: quick, but it holds tokens x tokens numbers."""
    bias = (rows[..., :, None] + columns[..., None, :]).flatten(3)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _attend_folded(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float
) -> Tensor:
    """The same with the positions as further channels, so that no bias is ever held.

    A key says in one-hot channels which row and column it is; a query says there what those are worth
    to it. Values get empty channels, as the kernels that never hold the scores want one width for all.
    """
    n = rows.shape[-1]
    unit = torch.eye(n, dtype=q.dtype, device=q.device)
    place = torch.cat([unit.repeat_interleave(n, 0), unit.repeat(n, 1)], dim=1)
    queries = torch.cat([q * scale, rows, columns], dim=-1)
    keys = torch.cat([k, place.expand(*k.shape[:2], -1, -1)], dim=-1)
    y = F.scaled_dot_product_attention(queries, keys, F.pad(v, (0, 2 * n)), scale=1.0)
    return y[..., : v.shape[-1]]


class Block(nn.Module):
    """Attention, inside windows or over the whole grid, then a feed-forward.

    Args:
        dim: width of the tokens.
        heads: attention heads.
        grid: side length of the whole grid.
        window: side length of the windows; 0 for the whole grid.
    """

    def __init__(self, dim: int, heads: int, grid: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = Attention(dim, heads, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = MLPBlock(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to the same shape."""
        y = self.norm1(x)
        x = x + (self.in_windows(y) if self.window else self.attn(y))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def in_windows(self, x: Tensor) -> Tensor:
        """Compute attention over windows; the zeros that pad the grid are attended to as well."""
        b, h, w, dim = x.shape
        n = self.window
        x = F.pad(x, (0, 0, 0, -w % n, 0, -h % n))
        rows, columns = x.shape[1] // n, x.shape[2] // n
        x = x.view(b, rows, n, columns, n, dim).transpose(2, 3).reshape(-1, n, n, dim)
        x = self.attn(x)
        x = x.view(b, rows, columns, n, n, dim).transpose(2, 3)
        return x.reshape(b, rows * n, columns * n, dim)[:, :h, :w]


class ViT(nn.Module):
    """The image encoder.

    Args:
        dim: width of the tokens.
        depth: number of blocks.
        heads: attention heads.
        whole: numbers of the blocks that attend over the whole grid.
        image_size: pixels along each side of the (padded) input.
        patch: side length of a patch in pixels.
        window: side length, in patches, of the other blocks' windows.
        out_channels: channels of the embedding.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        whole: Collection[int],
        image_size: int = 1024,
        patch: int = 16,
        window: int = 14,
        out_channels: int = 256,
    ) -> None:
        super().__init__()
        self.img_size = image_size
        grid = image_size // patch
        self.patch_embed = PatchEmbed(dim, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        self.blocks = nn.ModuleList(
            Block(dim, heads, grid, 0 if k in whole else window) for k in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(dim, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, 256, S / patch, S / patch) embeddings."""
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out
