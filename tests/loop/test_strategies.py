"""Choosing images: against brute force, formulas and what sets are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from promptseg.loop.stopping import is_flat
from promptseg.loop.strategies import at_random, k_center, most_uncertain, pick
from promptseg.loop.taking import is_contradicted
from promptseg.loop.uncertainty import disagreement, entropy, mirror_doubt


def radius(points: np.ndarray, centres: list[int]) -> float:
    """Largest distance of a point to its nearest centre, the slow way."""
    return max(min(np.linalg.norm(p - points[c]) for c in centres) for p in points)


@pytest.mark.parametrize("seed", range(6))
def test_k_center_is_within_twice_the_best_choice(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(11, 3))
    for n in (1, 2, 3):
        chosen = k_center(points, None, n)
        assert len(set(chosen)) == n
        best = min(radius(points, list(c)) for c in combinations(range(len(points)), n))
        assert radius(points, chosen) <= 2 * best + 1e-12


def test_k_center_takes_the_farthest_from_all_that_is_chosen() -> None:
    rng = np.random.default_rng(1)
    points, known = rng.normal(size=(20, 4)), rng.normal(size=(3, 4))
    chosen = k_center(points, known, 5)
    for number, index in enumerate(chosen):
        centres = np.concatenate([known, points[chosen[:number]]])
        distances = [min(np.linalg.norm(p - c) for c in centres) for p in points]
        left = [k for k in range(20) if k not in chosen[:number]]
        assert distances[index] == pytest.approx(max(distances[k] for k in left))


def test_k_center_stays_among_what_it_is_given() -> None:
    points = np.arange(10.0)[:, None]
    assert set(k_center(points, np.array([[0.0]]), 2, among=[1, 2, 3])) == {1, 3}
    assert k_center(points, None, 3, among=[]) == []
    assert k_center(points, None, 99, among=[4, 4, 5]) in ([4, 5], [5, 4])
    assert k_center(points[:1], None, 1) == [0]


@given(some.lists(some.floats(0, 1), min_size=1, max_size=30), some.integers(1, 30))
def test_the_most_uncertain_are_no_surer_than_any_other(scores: list[float], n: int) -> None:
    chosen = most_uncertain(scores, n)
    rest = [s for k, s in enumerate(scores) if k not in chosen]
    assert len(chosen) == min(n, len(scores))
    assert all(scores[k] >= s for k in chosen for s in rest)


def test_what_has_no_score_comes_last() -> None:
    assert most_uncertain([np.nan, 0.1, 0.9], 3) == [2, 1, 0]


def test_lots_hang_on_names_and_the_seed_alone() -> None:
    names = [f"case {k}" for k in range(50)]
    chosen = {names[k] for k in at_random(names, 10, 3)}
    assert len(chosen) == 10
    assert {names[::-1][k] for k in at_random(names[::-1], 10, 3)} == chosen
    assert {names[k] for k in at_random(names, 10, 4)} != chosen
    counts = np.zeros(50)
    for seed in range(400):
        counts[at_random(names, 10, seed)] += 1
    assert abs(counts - 80).max() < 40  # five standard deviations of a fair lot


def test_both_looks_for_unlike_images_among_uncertain_ones() -> None:
    rng = np.random.default_rng(0)
    features, scores = rng.normal(size=(30, 2)), rng.random(30)
    names = [str(k) for k in range(30)]
    how = {"features": features, "scores": scores, "annotated": np.zeros((1, 2))}
    chosen = pick("both", names, 4, **how)
    short = np.argsort(-scores)[:12]
    assert set(chosen) <= {int(k) for k in short}
    assert chosen[0] == max(short, key=lambda k: np.linalg.norm(features[k]))
    assert pick("uncertainty", names, 4, **how) == [int(k) for k in np.argsort(-scores)[:4]]
    assert pick("both", names, 4, features=features) == pick(
        "diversity", names, 4, features=features
    )
    assert len(pick("random", names, 99)) == 30


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="features"):
        pick("diversity", ["a"], 1)
    with pytest.raises(ValueError, match="one row"):
        pick("diversity", ["a", "b"], 1, features=np.zeros((3, 2)))


def test_entropies_of_known_distributions() -> None:
    assert entropy(torch.full((5, 3, 4), 0.2)) == pytest.approx(1)
    sure = torch.zeros(3, 2, 2)
    sure[1] = 1
    assert entropy(sure) == 0
    p = 0.3
    coin = torch.stack([torch.full((2, 2), p), torch.full((2, 2), 1 - p)])
    expected = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert entropy(coin) == pytest.approx(expected, abs=1e-7)
    half = torch.cat([coin, torch.stack([torch.ones(2, 2), torch.zeros(2, 2)])], dim=2)
    assert entropy(half) == pytest.approx(expected / 2, abs=1e-7)


def test_masks_disagree_by_their_dice() -> None:
    one = np.zeros((4, 4), bool)
    one[:2] = True
    other = np.zeros((4, 4), bool)
    other[1:3] = True
    empty = np.zeros((4, 4), bool)
    assert disagreement([one, one, one]) == 0
    assert disagreement([one, other]) == pytest.approx(1 - 2 * 4 / 16)
    assert disagreement([one, empty]) == 1
    assert disagreement([empty, empty]) == 0
    assert disagreement([one, one, other]) == pytest.approx((0 + 0.5 + 0.5) / 3)


def test_a_mirror_that_changes_nothing_raises_no_doubt() -> None:
    chances = torch.rand(3, 4, 6)
    chances[1, 0, 0] = 2  # there is some of a class
    assert mirror_doubt(chances, chances) == 0
    nothing = torch.stack([torch.ones(4, 6), torch.zeros(4, 6), torch.zeros(4, 6)])
    assert mirror_doubt(nothing, nothing) == 0
    other = nothing.clone()
    other[1, :2] = 2
    assert mirror_doubt(nothing, other) == 1


def test_a_curve_is_flat_when_the_last_rounds_gained_nothing() -> None:
    assert not is_flat([], 0.01, 2)
    assert not is_flat([0.5, 0.5], 0.01, 2)
    assert is_flat([0.5, 0.5, 0.505], 0.01, 2)
    assert not is_flat([0.5, 0.52, 0.5], 0.01, 2)
    assert is_flat([0.9, 0.2, 0.3], 0.01, 2)
    assert is_flat([0.5, 0.5], 0, 1)
    assert not is_flat([0.5, 0.5001], 0, 1)


def test_weak_proposals_are_no_contradiction() -> None:
    assert not is_contradicted([0.4, 0.3, 0.45])
    assert not is_contradicted([0.0, 0.1])  # too few to say so
    assert is_contradicted([0.0, 0.1, 0.05])
    assert not is_contradicted([0.0, 0.1, 0.9])
