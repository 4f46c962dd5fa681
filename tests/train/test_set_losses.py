"""Losses on sets of instances: against the official code, and what they must and must not judge."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from models.sam3_peer import official_loss
from promptseg.models.families.sam3.layers import Layers
from promptseg.train.objectives.set_losses import Instances, matched, set_loss

LAYERS, QUERIES, SIDE = 3, 200, 24


def random_case(
    seed: int, counts: tuple[int, ...], queries: int = QUERIES, side: int = 16
) -> tuple[Layers, Instances]:
    """Answers about some phrases with so many instances each."""
    g = torch.Generator().manual_seed(seed)
    phrases = len(counts)

    def boxes(*shape: int) -> Tensor:
        centre = 0.2 + 0.6 * torch.rand(*shape, 2, generator=g)
        return torch.cat([centre, 0.05 + 0.3 * torch.rand(*shape, 2, generator=g)], dim=-1)

    found = Layers(
        scores=2 * torch.randn(LAYERS, phrases, queries, generator=g),
        boxes=boxes(LAYERS, phrases, queries),
        presence=torch.randn(LAYERS, phrases, generator=g),
        masks=3 * torch.randn(phrases, queries, side, side, generator=g),
        whole=torch.randn(phrases, side, side, generator=g),
    )
    total = sum(counts)
    truth = Instances(
        boxes(total),
        torch.rand(total, SIDE, SIDE, generator=g) > 0.6,
        torch.repeat_interleave(torch.arange(phrases), torch.tensor(counts)),
        phrases,
    )
    return found, truth


@pytest.mark.peer
@pytest.mark.parametrize("queries", [QUERIES, 8])
@pytest.mark.parametrize("counts", [(1,), (2, 0, 3), (1, 1, 0, 0)])
def test_they_are_those_of_the_official_code(counts: tuple[int, ...], queries: int) -> None:
    found, truth = random_case(sum(counts), counts, queries)
    layers = [
        {
            "pred_logits": found.scores[k][..., None],
            "pred_boxes": found.boxes[k],
            "presence_logit_dec": found.presence[k],
            "pred_masks": found.masks,
        }
        for k in (LAYERS - 1, *range(LAYERS - 1))
    ]
    targets = {
        "boxes": truth.boxes,
        "num_boxes": torch.tensor(counts),
        "masks": truth.masks.float(),
    }
    theirs = official_loss(layers, found.whole[:, None], targets)
    torch.testing.assert_close(
        float(set_loss(found, truth).total()), theirs["total"], rtol=1e-5, atol=0
    )


def test_the_match_costs_least_of_all() -> None:
    found, truth = random_case(5, (3,))
    few = found.scores[0, :, :5], found.boxes[0, :, :5]
    one, other = matched(*few, truth)[1:]
    ours = dict(zip(other.tolist(), one.tolist(), strict=True))

    def cost(queries: tuple[int, ...]) -> float:
        """Summed over the instances, written out."""
        total = 0.0
        for instance, query in enumerate(queries):
            p = float(few[0][0, query].sigmoid())
            x, y = few[1][0, query], truth.boxes[instance]
            total += 2 * (
                -0.25 * (1 - p) ** 2 * float(torch.tensor(p).log())
                + 0.75 * p**2 * float(torch.tensor(1 - p).log())
            )
            total += 5 * float((x - y).abs().sum())
            low = [v[:2] - v[2:] / 2 for v in (x, y)]
            high = [v[:2] + v[2:] / 2 for v in (x, y)]
            both = float((torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod())
            either = float(x[2:].prod() + y[2:].prod()) - both
            around = float((torch.maximum(*high) - torch.minimum(*low)).prod())
            total -= 2 * (both / either - (around - either) / around)
        return total

    best = min(itertools.permutations(range(5), 3), key=cost)
    assert tuple(ours[k] for k in range(3)) == best


def test_more_instances_than_queries_leave_some_without() -> None:
    found, truth = random_case(6, (4,))
    phrase, query, instance = matched(found.scores[0, :, :2], found.boxes[0, :, :2], truth)
    assert len(phrase) == 2
    assert len(set(query.tolist())) == len(set(instance.tolist())) == 2


def test_of_a_phrase_for_nothing_only_presence_is_judged() -> None:
    found, truth = random_case(7, (0,))
    loss = set_loss(found, truth)
    assert float(loss.score) == float(loss.box) == float(loss.mask) == 0
    assert float(loss.presence) > 0
    assert len(loss.overlap) == 0
    sure = found._replace(presence=torch.full_like(found.presence, -20.0))
    assert float(set_loss(sure, truth).presence) < 1e-6
    assert set_loss(sure, truth).right.tolist() == [True]


def test_a_perfect_answer_costs_next_to_nothing_but_for_its_scores() -> None:
    _, truth = random_case(8, (2,))
    queries = 4
    boxes = torch.cat([truth.boxes, torch.full((2, 4), 0.1)])[None, None].expand(2, 1, -1, -1)
    scores = torch.tensor([20.0, 20, -20, -20]).expand(2, 1, queries)
    masks = torch.full((1, queries, SIDE, SIDE), -20.0)
    masks[0, :2][truth.masks] = 20
    whole = torch.where(truth.masks.any(0), 20.0, -20.0)[None]
    found = Layers(scores, boxes, torch.full((2, 1), 20.0), masks, whole)
    loss = set_loss(found, truth)
    assert float(loss.total()) < 1e-3
    assert loss.overlap.tolist() == [1, 1]
