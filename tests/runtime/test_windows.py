"""Windows of a grid as rows of a table."""

from __future__ import annotations

import pytest
import torch

from promptseg.runtime.rewrite.windows import NEVER, full_keys, places, rows_of, windows_of

GRIDS = [(8, 4), (9, 4), (10, 7), (3, 7), (7, 7)]


@pytest.mark.parametrize(("side", "window"), GRIDS)
def test_every_token_is_asked_once_in_its_own_window(side: int, window: int) -> None:
    groups = windows_of(side, window)
    asked = torch.cat([g.queries.flatten() for g in groups])
    assert sorted(asked[asked >= 0].tolist()) == list(range(side * side))
    for group in groups:
        for tokens, queries in zip(group.tokens, group.queries, strict=True):
            own = tokens[tokens >= 0]
            assert queries[queries >= 0].tolist() == own.tolist()
            corners = torch.stack([own // side // window, own % side // window], 1)
            assert len(corners.unique(dim=0)) == 1


@pytest.mark.parametrize(("side", "window"), GRIDS)
def test_answers_find_their_way_back(side: int, window: int) -> None:
    heads, width = 3, 2
    table = torch.randn(side * side * heads, width)
    queries = [g.queries for g in windows_of(side, window)]
    answers = torch.cat([table[rows_of(q, heads, heads)] for q in queries])
    assert torch.equal(answers[places(queries, heads)], table)


def test_no_token_takes_the_empty_row() -> None:
    rows = rows_of(torch.tensor([[2, -1]]), heads=2, slots=5, first=2, empty=4)
    assert rows.tolist() == [12, 4, 13, 4]


@pytest.mark.parametrize(("side", "window"), GRIDS)
def test_one_key_stands_for_all_tokens_beyond_the_edge(side: int, window: int) -> None:
    """Against the softmax over a padded window, whose padded keys and values are zeros."""
    heads, width, n = 2, 4, window * window
    rng = torch.Generator().manual_seed(side)
    offsets = torch.randn(heads, n, n, generator=rng, dtype=torch.float64)
    q, k, v = torch.randn(3, heads, side * side, width, generator=rng, dtype=torch.float64)
    for group in windows_of(side, window):
        bias = group.bias(offsets)
        bias = bias.view(-1, heads, *bias.shape[2:]).expand(len(group.tokens), -1, -1, -1)
        for tokens, queries, own_bias in zip(group.tokens, group.queries, bias, strict=True):
            there = tokens >= 0
            padded_k, padded_v = torch.zeros(2, heads, n, width, dtype=torch.float64)
            padded_k[:, there], padded_v[:, there] = k[:, tokens[there]], v[:, tokens[there]]
            scores = q[:, tokens[there]] @ padded_k.transpose(1, 2) + offsets[:, there]
            expected = scores.softmax(-1) @ padded_v
            own = queries[queries >= 0]
            short_k, short_v = torch.zeros(2, heads, bias.shape[-1], width, dtype=torch.float64)
            short_k[:, : len(own)], short_v[:, : len(own)] = k[:, own], v[:, own]
            scores = q[:, own] @ short_k.transpose(1, 2) + own_bias[:, : len(own)]
            found = scores.softmax(-1) @ short_v
            assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_a_key_that_is_none_counts_for_nothing_in_bfloat16() -> None:
    scores = torch.tensor([0.0, NEVER, -80.0]).bfloat16()
    assert scores.float().exp()[1] == 0
    assert full_keys(torch.zeros(1, 49, dtype=torch.long)).shape == (1, 64)
