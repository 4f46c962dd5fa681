"""Windows of a grid of tokens: which rows of a table each one attends from and to.

A table holds, for each token, a few vectors of one width, say the queries of all heads. Whole windows
and those that the grid's edge cuts are taken from it separately. So nothing is computed for tokens
beyond the edge; where they are attended to, they are rows of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["NEVER", "Group", "full_keys", "places", "rows_of", "windows_of"]

NEVER = -1e4  # the score of a key that is none: exp(NEVER) is 0, and bfloat16 can hold it
_KEYS = 16  # scores are quickest where a row has a multiple of so many


@dataclass(frozen=True)
class Group:
    """Windows that are all whole, or all cut by the edge.

    Attributes:
        tokens: (windows, window * window) tokens of each, row by row; -1 beyond the edge.
    """

    tokens: Tensor

    @property
    def queries(self) -> Tensor:
        """Return the tokens of each window on the grid, (windows, queries); shorter rows end in -1."""
        sorted_tokens = self.tokens.gather(1, self._order)
        return sorted_tokens[:, : int((sorted_tokens >= 0).sum(1).max())]

    @property
    def _order(self) -> Tensor:
        """(windows, window * window) places in each window, those on the grid first."""
        return (self.tokens < 0).byte().argsort(dim=1, stable=True)

    def bias(self, offsets: Tensor) -> Tensor:
        """Return the bias of the scores as a constant, with one key for all tokens beyond the edge.

        Those have keys and values of zeros, so of them a query sees no more than the sum of the
        exponentials of their biases.

        Args:
            offsets: (heads, window * window, window * window) of queries and keys.

        Returns:
            (1, heads or windows * heads, queries, keys); the keys are the queries' tokens, then the
            one for all others, then some that count for nothing.
        """
        order, most = self._order, self.queries.shape[1]
        on_grid = (self.tokens.gather(1, order) >= 0)[:, None, None]
        if bool(on_grid.all()):  # then all windows have the same
            order, on_grid = order[:1], on_grid[:1]
        biases = offsets[:, order[:, :, None], order[:, None, :]].transpose(0, 1)
        own = biases.masked_fill(~on_grid, NEVER)[:, :, :most, :most]
        beyond = biases.masked_fill(on_grid, -torch.inf).logsumexp(-1, keepdim=True)
        bias = torch.cat([own, beyond[:, :, :most].clamp(min=NEVER)], dim=-1)
        return F.pad(bias, (0, -(most + 1) % _KEYS), value=NEVER).flatten(0, 1)[None]


def windows_of(side: int, window: int) -> list[Group]:
    """Return the windows of a square grid, whole ones first.

    Args:
        side: tokens along each side.
        window: tokens along each side of a window; the last windows may be cut.
    """
    count = -(-side // window)
    steps = torch.arange(count * window).view(count, window)
    steps = steps.masked_fill(steps >= side, -1)
    rows, columns = steps[:, None, :, None], steps[None, :, None, :]
    tokens = (rows * side + columns).masked_fill((rows < 0) | (columns < 0), -1)
    tokens = tokens.reshape(-1, window * window)
    whole = (tokens >= 0).all(1)
    return [Group(part) for part in (tokens[whole], tokens[~whole]) if len(part)]


def full_keys(tokens: Tensor) -> Tensor:
    """Append keys of -1 to those of windows, up to a number with which scores are computed quickest."""
    return F.pad(tokens, (0, -tokens.shape[1] % _KEYS), value=-1)


def rows_of(tokens: Tensor, heads: int, slots: int, first: int = 0, empty: int = 0) -> Tensor:
    """Return the rows of a table, (tokens * slots, width), in which the heads of some tokens lie.

    Args:
        tokens: (windows, n); -1 for none.
        heads: attention heads.
        slots: vectors of a token.
        first: the slot of the first head.
        empty: row to take where there is no token.

    Returns:
        (windows * heads * n,) rows.
    """
    rows = (tokens * slots + first)[:, None, :] + torch.arange(heads)[:, None]
    return rows.masked_fill((tokens < 0)[:, None], empty).flatten()


def places(queries: Sequence[Tensor], heads: int) -> Tensor:
    """Return the places at which the answers of each token's heads lie.

    Args:
        queries: (windows, n) tokens of each group; its answers lie as (windows, heads, n), one group
            after the other.

    Returns:
        (tokens * heads,)
    """
    tokens = int(max(q.max() for q in queries)) + 1
    found = torch.empty(tokens, heads, dtype=torch.long)
    begin = 0
    for own in queries:
        windows, n = own.shape
        place = begin + torch.arange(windows * heads * n).view(windows, heads, n).transpose(1, 2)
        found[own[own >= 0]] = place[own >= 0]
        begin += windows * heads * n
    return found.flatten()
