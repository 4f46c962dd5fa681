"""ViT's attention with relative positions, as suits what executes it.

Queries come with channels that say what each row and column of the keys is worth to them. Either keys
have one-hot channels to multiply these by, so that one product gives the scores, or they are added to
the scores. A large grid's scores are never held whole: some queries of one head at a time, they stay
in the cache.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.runtime.machine import has_amx
from promptseg.runtime.rewrite.ops import arithmetic, as_graph

__all__ = ["adding_pays", "attend", "attend_adding"]

_LARGE = 1 << 20  # scores of one head
_CHUNKS = 4  # of the queries of one head, in graphs
_QUERIES = 128  # in a chunk, for each thread, where no graph is made


def adding_pays(q: Tensor, k: Tensor) -> bool:
    """Tell whether positions are better added to scores than multiplied as channels.

    They are where a product costs much: for large grids on a CPU, but not in bfloat16 on AMX. Without
    AMX, torch's own attention is no quicker in bfloat16 than in float32.
    """
    if q.device.type != "cpu" or (arithmetic(q) == torch.bfloat16 and has_amx()):
        return False
    return _is_large(q, k)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute attention of (B, heads, tokens, channels) scaled queries and keys, and values of fewer
    channels.
    """
    if not as_graph():  # the kernels that never hold the scores want one width for all
        wide = F.pad(v, (0, q.shape[-1] - v.shape[-1]))
        return F.scaled_dot_product_attention(q, k, wide, scale=1.0)[..., : v.shape[-1]]
    if not _is_large(q, k):
        return torch.softmax(q @ k.transpose(-1, -2), -1) @ v

    def scores(head: int, some: slice) -> Tensor:
        return q[:, head, some] @ k[:, head].transpose(-1, -2)

    return _chunks_of_graph(scores, q, v)


def attend_adding(q: Tensor, k: Tensor, v: Tensor, side: int) -> Tensor:
    """Compute the same for keys without channels for positions; what positions say is added to the
    scores.

    Args:
        q: (B, heads, tokens, width + channels), scaled; of the channels, `side` are for rows, then
            `side` for columns.
        k: (B, heads, side * side, width).
        v: (B, heads, side * side, width).
        side: tokens along each side of the grid of the keys.
    """
    width = k.shape[-1]
    q, rows, columns, _ = q.split([width, side, side, q.shape[-1] - width - 2 * side], dim=-1)
    if not as_graph():
        return _adding_here(q, k, v, rows, columns)

    def scores(head: int, some: slice) -> Tensor:
        plain = q[:, head, some] @ k[:, head].transpose(-1, -2)
        grid: Tensor = plain.view(*plain.shape[:-1], side, side)
        grid = grid + rows[:, head, some, :, None] + columns[:, head, some, None, :]
        return grid.flatten(-2)

    return _chunks_of_graph(scores, q, v)


def _adding_here(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """In float32, whatever comes: it is no slower, and the scores are exact."""
    given, exact = q.dtype, torch.promote_types(q.dtype, torch.float32)
    q, k, v, out = q.to(exact), k.to(exact), v.to(exact), q.new_empty(q.shape, dtype=exact)
    memory = q.new_empty(_QUERIES * torch.get_num_threads(), rows.shape[-1], columns.shape[-1])
    for image in range(len(q)):
        for head in range(q.shape[1]):
            keys, values = k[image, head].T, v[image, head]
            for n in range(0, q.shape[2], len(memory)):
                some = image, head, slice(n, n + len(memory))
                scores = memory[: len(q[some])]
                torch.add(rows[some][:, :, None], columns[some][:, None, :], out=scores)
                scores = scores.flatten(1).addmm_(q[some], keys)
                torch.mm(torch.softmax(scores, -1, out=scores), values, out=out[some])
    return out.to(given)


def _chunks_of_graph(scores: Callable[[int, slice], Tensor], q: Tensor, v: Tensor) -> Tensor:
    """A graph that attends head by head, some queries at a time; `scores` gives theirs."""
    tokens = int(q.shape[2])
    step = tokens // _CHUNKS if tokens % _CHUNKS == 0 else tokens
    heads = []
    for head in range(int(q.shape[1])):
        some = (slice(n, n + step) for n in range(0, tokens, step))
        chunks = [torch.softmax(scores(head, queries), -1) @ v[:, head] for queries in some]
        heads.append(torch.cat(chunks, dim=1))
    return torch.stack(heads, dim=1)


def _is_large(q: Tensor, k: Tensor) -> bool:
    return int(q.shape[-2]) * int(k.shape[-2]) >= _LARGE
