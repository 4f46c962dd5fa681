"""Positions as channels of keys and positions added to scores are the same attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from promptseg.runtime.rewrite.attention import adding_pays, attend, attend_adding
from promptseg.runtime.rewrite.ops import graph_in
from runtime.small import distance

SIDE, WIDTH, MORE = 40, 16, 3  # of the grid of keys; channels that stand for nothing


def made(batch: int, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(batch, 2, queries, WIDTH + 2 * SIDE + MORE, generator=generator)
    k, v = torch.randn(2, batch, 2, SIDE * SIDE, WIDTH, generator=generator)
    return q, k, v


def with_channels(k: Tensor) -> Tensor:
    row, column = torch.arange(SIDE * SIDE) // SIDE, torch.arange(SIDE * SIDE) % SIDE
    one_hot = [nn.functional.one_hot(line, SIDE) for line in (row, column)]
    place = torch.cat([*one_hot, torch.zeros(SIDE * SIDE, MORE)], dim=1)
    return torch.cat([k, place.expand(*k.shape[:2], -1, -1)], dim=-1)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("queries", [SIDE * SIDE, 700, 1])  # a window that is cut has fewer
@torch.inference_mode()
def test_both_ways_give_the_same(batch: int, queries: int) -> None:
    q, k, v = made(batch, queries)
    expected = attend(q, with_channels(k), v)
    assert expected.shape == (batch, 2, queries, WIDTH)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):  # each thread has queries of its own
            torch.set_num_threads(number)
            assert distance(attend_adding(q, k, v, SIDE), expected) < 1e-5
    finally:
        torch.set_num_threads(threads)
    reduced = attend_adding(*(x.bfloat16() for x in (q, k, v)), SIDE)
    assert reduced.dtype == torch.bfloat16
    assert 0 < distance(reduced.float(), expected) < 0.02


@torch.inference_mode()
def test_both_graphs_give_the_same() -> None:
    class Adding(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend_adding(q, k, v, SIDE)

    class Channels(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, with_channels(k), v)

    given = made(1, SIDE * SIDE)
    expected = attend(given[0], with_channels(given[1]), given[2])
    for module in (Adding(), Channels()):
        traced = torch.jit.trace(module, given, check_trace=False)
        assert distance(traced(*given), expected) < 1e-5


@pytest.mark.parametrize("amx", [True, False])
def test_adding_pays_where_products_cost_much(amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.runtime.rewrite.attention.has_amx", lambda: amx)
    q, k, _ = made(1, SIDE * SIDE)
    assert adding_pays(q, k)
    assert adding_pays(q.bfloat16(), k.bfloat16()) != amx
    assert not adding_pays(q[:, :, :196], k[:, :, :208])
    with graph_in(torch.bfloat16):
        assert adding_pays(q, k)  # nothing is recorded
