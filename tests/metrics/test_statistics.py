"""Statistics of reports against other routes: counting, scipy, the standard library."""

from __future__ import annotations

import itertools
import math
import statistics as standard

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from promptseg.metrics.statistics import (
    _drawn_means,
    _drawn_medians,
    bootstrap,
    holm,
    mean_per_group,
    quantile,
    ranks,
    signed_rank,
    summarise,
)

_SCORES = st.floats(0, 1, width=16)
_BOUNDED = settings(max_examples=60, derandomize=True, deadline=None)


def _counted_p(differences: list[float]) -> float:
    """Two-sided p by trying every assignment of signs."""
    ranks_ = stats.rankdata(np.abs(differences))
    middle = ranks_.sum() / 2
    observed = abs(sum(r for r, d in zip(ranks_, differences, strict=True) if d > 0) - middle)
    sums = [
        sum(r for r, s in zip(ranks_, signs, strict=True) if s)
        for signs in itertools.product((0, 1), repeat=len(ranks_))
    ]
    return float(np.mean([abs(total - middle) >= observed - 1e-9 for total in sums]))


@_BOUNDED
@given(st.lists(_SCORES, min_size=2, max_size=40))
def test_quartiles_are_those_of_the_standard_library(values):
    q1, median, q3 = standard.quantiles(values, n=4, method="inclusive")
    found = summarise(np.array([*values, math.nan]))
    assert found.n == len(values)
    assert (found.q1, found.median, found.q3) == pytest.approx((q1, median, q3), abs=1e-12)
    assert found.mean == pytest.approx(standard.fmean(values), abs=1e-12)


def test_infinite_values_are_the_far_end_of_quartiles():
    values = np.array([1.0, 2.0, 3.0, math.inf, math.inf])
    assert [quantile(values, q) for q in (0, 0.5, 0.75, 0.6)] == [1, 3, math.inf, math.inf]
    assert summarise(values).mean == math.inf
    assert summarise(np.array([math.nan])).n == 0


@_BOUNDED
@given(st.lists(st.integers(-4, 4).filter(bool), min_size=6, max_size=11))
def test_signed_rank_with_ties_is_exact(differences):
    first = np.array(differences) / 10
    found = signed_rank(first, np.zeros(len(first)))
    assert found.p == pytest.approx(min(1, _counted_p(differences)), abs=1e-12)


@pytest.mark.parametrize("pairs", [6, 20, 50])
def test_signed_rank_without_ties_is_scipys_exact_test(pairs):
    rng = np.random.default_rng(pairs)
    first, second = rng.random(pairs) + 0.1, rng.random(pairs)
    expected = stats.wilcoxon(first, second, method="exact").pvalue
    assert signed_rank(first, second).p == pytest.approx(expected, abs=1e-12)


def test_many_pairs_use_the_normal_approximation_of_scipy():
    rng = np.random.default_rng(1)
    first = rng.integers(0, 30, 200)
    second = np.clip(first + rng.integers(-2, 4, 200), 0, 30)
    expected = stats.wilcoxon(first, second, method="approx", correction=False).pvalue
    assert signed_rank(first / 30, second / 30).p == pytest.approx(expected, rel=1e-9)


def test_rounding_noise_does_not_break_ties():
    first = np.array([0.9, 0.5, 0.7, 0.8, 0.6, 0.4])
    second = np.array([0.8, 0.4, 0.6, 0.9, 0.5, 0.3])  # five differences of 0.1, one of -0.1
    assert signed_rank(first, second).p == pytest.approx(_counted_p([1, 1, 1, -1, 1, 1]))


def test_too_few_pairs_are_not_tested():
    found = signed_rank(np.arange(5.0) + 1, np.zeros(5))
    assert math.isnan(found.p)
    assert "5 pairs" in found.reason
    assert signed_rank(np.zeros(0), np.zeros(0)).reason == "no pairs"


def test_samples_without_a_difference_are_not_different():
    same = np.array([0.1, 0.2, 0.3, 0.4, 0.5, math.inf])
    found = signed_rank(same, same)
    assert (found.p, found.zeros, found.balance) == (1.0, 6, 0.5)


def test_infinite_differences_count_as_the_largest():
    first = np.array([-math.inf, 0.1, 0.2, 0.3, 0.4, 0.5])
    found = signed_rank(first, np.zeros(6))
    assert found.p == pytest.approx(_counted_p([-9, 1, 2, 3, 4, 5]))
    assert found.balance == pytest.approx(15 / 21)


def test_holm_by_hand():
    p = np.array([0.01, math.nan, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, math.nan, 0.06, 0.06, 0.02], nan_ok=True)


@_BOUNDED
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_raw_value_and_bonferroni(p):
    adjusted = holm(np.array(p))
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()


def test_ranks_share_ties():
    worth = np.array([[0.9, 0.5, 0.1], [0.9, 0.6, 0.2], [0.3, 0.7, 0.3]])
    rank, place = ranks(worth)
    assert rank.tolist() == [[1.5, 3, 3], [1.5, 2, 2], [3, 1, 1]]
    assert place.tolist() == [[1, 3, 3], [1, 2, 2], [3, 1, 1]]


def test_means_of_groups():
    found = mean_per_group(np.array([1.0, 3.0, 10.0]), np.array([4, 4, 2]))
    assert found.tolist() == [10.0, 2.0]  # group 2, then group 4


def test_bootstrap_draws_patients_as_a_whole():
    """Against a loop that draws patients and pools their masks."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(8), 5)
    values = rng.random(8)[groups] + rng.normal(0, 0.01, 40)
    mean, median = bootstrap(values, groups, resamples=4000)
    pools = [
        np.concatenate([values[groups == g] for g in rng.integers(0, 8, 8)]) for _ in range(4000)
    ]
    for found, function in ((mean, np.mean), (median, np.median)):
        expected = np.quantile([function(pool) for pool in pools], [0.025, 0.975])
        assert found == pytest.approx(expected, abs=0.03)
    alone, _ = bootstrap(values, np.arange(40))
    assert alone.high - alone.low < mean.high - mean.low


@pytest.mark.parametrize("size", [2, 9, 40, 101])
def test_drawn_means_and_medians_are_those_of_the_pooled_values(size):
    rng = np.random.default_rng(size)
    values = np.sort(rng.integers(0, 15, size) / 10)
    member = np.unique(rng.integers(0, 5, size), return_inverse=True)[1]
    people = member.max() + 1
    draws = rng.multinomial(people, np.full(people, 1 / people), size=200).astype(float)
    pools = [np.repeat(values, times[member].astype(int)) for times in draws]
    assert _drawn_means(values, member, draws) == pytest.approx([p.mean() for p in pools])
    assert _drawn_medians(values, member, draws).tolist() == [np.median(p) for p in pools]


def test_bootstrap_median_of_one_resample_is_the_median_of_the_drawn_masks():
    """With two patients there are three possible draws, all seen in a thousand."""
    values, groups = np.array([0.0, 0.2, 1.0, math.nan]), np.array([0, 0, 1, 1])
    mean, median = bootstrap(values, groups)
    assert mean == pytest.approx((0.1, 1.0))
    assert median == pytest.approx((0.1, 1.0))


def test_bootstrap_is_repeatable_and_needs_two_patients():
    values = np.linspace(0, 1, 9)
    assert bootstrap(values, np.arange(9), seed=5) == bootstrap(values, np.arange(9), seed=5)
    assert all(math.isnan(v) for pair in bootstrap(values, np.zeros(9, dtype=int)) for v in pair)


@pytest.mark.parametrize("sign", [-1, 1])
def test_infinite_values_keep_their_sign_in_intervals(sign):
    """As differences of distances where one of the masks is empty."""
    values = sign * np.array([math.inf, *np.full(9, 2.0)])
    mean, median = bootstrap(values, np.arange(10))
    assert sorted(sign * np.array(mean)) == [2, math.inf]
    assert tuple(median) == (sign * 2, sign * 2)
    far, _ = bootstrap(np.where(np.isinf(values), sign * 17, values), np.arange(10))
    assert np.sign(far).tolist() == np.sign(mean).tolist() == [sign, sign]


def test_infinities_of_both_signs_have_no_mean():
    values = np.array([-math.inf, math.inf, *np.full(20, 1.0)])
    mean, median = bootstrap(values, np.arange(22))
    assert np.isnan(mean).all()
    assert tuple(median) == (1, 1)
    few, between = bootstrap(np.array([-math.inf, math.inf]), np.arange(2))
    assert np.isnan([*few, *between]).all()


def test_infinite_values_that_were_not_drawn_do_not_count():
    mean, median = bootstrap(np.array([math.inf, *np.ones(30)]), np.arange(31))
    assert (mean.low, mean.high) == (1.0, math.inf)
    assert median == (1.0, 1.0)
