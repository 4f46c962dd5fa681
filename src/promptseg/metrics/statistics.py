"""The numbers of a report: quartiles, intervals, the signed-rank test, Holm, ranks.

Everything here is a function of arrays. NaN stands for "no value": it enters no mean and no test,
and who calls counts it and shows the count. Infinite values (the distance to a mask that is empty)
stay: they are beyond every finite value in quartiles, tests and ranks, and make a mean infinite.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

__all__ = [
    "FEWEST_PAIRS",
    "Interval",
    "SignedRank",
    "Spread",
    "Summary",
    "bootstrap",
    "holm",
    "mean_per_group",
    "quantile",
    "ranks",
    "signed_rank",
    "spread",
    "summarise",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_PAIRS = 6
"""With five pairs the smallest two-sided p is 2 / 2^5 = 0.0625: no test at 0.05 can succeed."""

_EXACT_UP_TO = 50
_DECIMALS = 9  # rows carry 6 digits; beyond 9, differences are rounding noise that would break ties


class Summary(NamedTuple):
    """The distribution of a sample without its NaN; all NaN if nothing is left."""

    n: int
    mean: float
    median: float
    q1: float
    q3: float
    low: float
    high: float


class Interval(NamedTuple):
    """Bounds of a bootstrap interval; NaN where there are fewer than two groups."""

    low: float
    high: float


class SignedRank(NamedTuple):
    """Outcome of a Wilcoxon signed-rank test.

    Attributes:
        pairs: differences given, zeros included.
        zeros: of them, how many are zero (left out, as Wilcoxon did).
        balance: share of the rank sum that is positive, 0..1; above 0.5 the first sample is higher.
        p: two-sided; NaN if no test was made.
        reason: why there is no p; else empty.
    """

    pairs: int
    zeros: int
    balance: float
    p: float
    reason: str = ""


class Spread(NamedTuple):
    """Spread of the repetitions of one experiment.

    Attributes:
        n: repetitions that have a value.
        mean: of them.
        deviation: their standard deviation, as of a sample (n - 1); NaN with fewer than two, or
            where one is infinite.
        low, high: the smallest and the largest.
    """

    n: int
    mean: float
    deviation: float
    low: float
    high: float

    def __str__(self) -> str:
        """`0.812 ± 0.004`, or a dash where there is nothing."""
        if not self.n:
            return "-"
        apart = "" if math.isnan(self.deviation) else f" ± {self.deviation:.3f}"
        return f"{self.mean:.3f}{apart}"


def quantile(values: Floats, q: float) -> float:
    """Compute a quantile by linear interpolation of order statistics (NumPy's default, R's type 7).

    Args:
        values: without NaN; may hold infinities, where NumPy would give NaN.
        q: 0..1.
    """
    ordered = np.sort(values)
    if not len(ordered):
        return math.nan
    place = q * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    part = place - math.floor(place)
    flat = part == 0 or below == above or math.isinf(below)  # from -inf nothing leads on
    return float(below if flat else below + part * (above - below))


def summarise(values: Floats) -> Summary:
    """Compute number, mean, median, quartiles and extremes of a sample; NaN is left out."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Summary(0, *(math.nan,) * 6)
    median, q1, q3 = (quantile(kept, q) for q in (0.5, 0.25, 0.75))
    extremes = float(kept.min()), float(kept.max())
    return Summary(len(kept), float(kept.mean()), median, q1, q3, *extremes)


def spread(values: Floats) -> Spread:
    """Compute mean, standard deviation and extremes of repetitions; NaN is left out.

    >>> print(spread(np.array([0.8, 0.9])))
    0.850 ± 0.071
    """
    kept = values[~np.isnan(values)]
    if not len(kept):
        return Spread(0, *(math.nan,) * 4)
    several = len(kept) > 1 and np.isfinite(kept).all()
    deviation = float(kept.std(ddof=1)) if several else math.nan
    return Spread(len(kept), float(kept.mean()), deviation, float(kept.min()), float(kept.max()))


def bootstrap(
    values: Floats, groups: Ints, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[Interval, Interval]:
    """Compute percentile intervals of the mean and of the median, resampling groups as a whole.

    Masks of one patient resemble each other, so that patients are drawn, with all their masks.

    Args:
        values: (n,); NaN is left out.
        groups: (n,) which patient each value belongs to.
        resamples: how many times patients are drawn.
        seed: of the draw. Samples of as many patients are drawn alike.
        level: of the interval.

    Returns:
        The interval of the mean and of the median; NaN where samples have none, as those with
        infinities of both signs have no mean.
    """
    kept = ~np.isnan(values)
    order = np.argsort(values[kept], kind="stable")
    ordered = values[kept][order]
    member = np.unique(groups[kept], return_inverse=True)[1][order]
    patients = int(member.max(initial=-1)) + 1
    if patients < 2:
        nothing = Interval(math.nan, math.nan)
        return nothing, nothing
    draws = _draws(patients, resamples, seed)
    tail = (1 - level) / 2
    means, medians = _drawn_means(ordered, member, draws), _drawn_medians(ordered, member, draws)
    return _bounds(means, tail), _bounds(medians, tail)


@lru_cache(maxsize=4)
def _draws(patients: int, resamples: int, seed: int) -> Floats:
    """(resamples, patients): how often each patient is drawn."""
    rng = np.random.default_rng(seed)
    times = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    return times.astype(np.float64)


def _drawn_means(values: Floats, member: Ints, draws: Floats) -> Floats:
    """(resamples,) mean of the values of the drawn patients; infinite where one of them is, with its
    sign, and NaN where infinities of both signs are."""
    sums = np.bincount(member, np.where(np.isinf(values), 0.0, values))
    means: Floats = draws @ sums / (draws @ np.bincount(member))
    low, high = (draws @ np.bincount(member, values == end) > 0 for end in (-math.inf, math.inf))
    means[low], means[high], means[low & high] = -math.inf, math.inf, math.nan
    return means


def _drawn_medians(ordered: Floats, member: Ints, draws: Floats) -> Floats:
    """(resamples,) median of the values of the drawn patients, found in blocks of sorted values.

    The block with the median follows from how many values each patient has in each block; only that
    block is looked at value by value. So 1000 resamples of 10,000 values take 0.1 s.
    """
    n = len(ordered)
    size = math.isqrt(n - 1) + 1
    held = np.zeros((draws.shape[1], -(-n // size)))
    np.add.at(held, (member, np.arange(n) // size), 1)
    reached = np.pad((draws @ held).cumsum(axis=1), ((0, 0), (1, 0)))  # before each block; all

    def order_statistic(rank: Floats) -> Floats:
        block = (reached[:, 1:] <= rank[:, None]).sum(axis=1)[:, None]
        inside = np.minimum(block * size + np.arange(size), n - 1)
        times = np.take_along_axis(draws, member[inside], axis=1)
        left = rank[:, None] - np.take_along_axis(reached, block, axis=1)
        at = block[:, 0] * size + (times.cumsum(axis=1) <= left).sum(axis=1)
        found: Floats = ordered[at]
        return found

    total = reached[:, -1]
    low, high = order_statistic((total - 1) // 2), order_statistic(total // 2)
    with np.errstate(invalid="ignore"):  # between -inf and inf
        return np.where(low == high, low, (low + high) / 2)


def _bounds(values: Floats, tail: float) -> Interval:
    if np.isnan(values).any():
        return Interval(math.nan, math.nan)
    return Interval(quantile(values, tail), quantile(values, 1 - tail))


def mean_per_group(values: Floats, groups: Ints) -> Floats:
    """Return the mean of every group, in the order of their numbers."""
    unique, member = np.unique(groups, return_inverse=True)
    return np.bincount(member, values, len(unique)) / np.bincount(member, minlength=len(unique))


def signed_rank(first: Floats, second: Floats) -> SignedRank:
    """Compute the two-sided Wilcoxon signed-rank test of paired samples.

    Zero differences are left out and ties share their mean rank. Up to 50 differences the p value is
    exact, with ties too: it is counted over all assignments of signs. Beyond, the normal
    approximation with correction for ties is used, without correction for continuity.

    Args:
        first: (pairs,) one value per patient, without NaN. Two infinite values are a tie.
        second: the same patients.
    """
    with np.errstate(invalid="ignore"):
        differences = np.where(first == second, 0.0, np.round(first - second, _DECIMALS))
    pairs, apart = len(differences), differences[differences != 0]
    zeros = pairs - len(apart)
    if not pairs:
        return SignedRank(0, 0, math.nan, math.nan, "no pairs")
    rank = rankdata(np.abs(apart))
    positive = float(rank[apart > 0].sum())
    balance = positive / float(rank.sum()) if len(apart) else 0.5
    if pairs < FEWEST_PAIRS:
        reason = f"{pairs} pair{'s' if pairs > 1 else ''}, at least {FEWEST_PAIRS} needed"
        return SignedRank(pairs, zeros, balance, math.nan, reason)
    if not len(apart):
        return SignedRank(pairs, zeros, balance, 1.0)
    exact = len(apart) <= _EXACT_UP_TO
    p = _exact_p(rank, positive) if exact else _normal_p(rank, positive)
    return SignedRank(pairs, zeros, balance, p)


def _exact_p(rank: Floats, positive: float) -> float:
    """Share of all sign assignments whose rank sum is as far from its middle as the observed one."""
    doubled = np.rint(2 * rank).astype(int)  # mean ranks of ties are halves
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for r in doubled:
        moved = np.zeros_like(share)
        moved[r:] = share[: len(share) - r]
        share = (share + moved) / 2
    smaller = min(round(2 * positive), len(share) - 1 - round(2 * positive))
    return min(1.0, 2 * float(share[: smaller + 1].sum()))


def _normal_p(rank: Floats, positive: float) -> float:
    # sum of squared ranks / 4 is the variance under random signs, ties included
    return float(2 * norm.sf(abs(positive - rank.sum() / 2) / math.sqrt((rank**2).sum() / 4)))


def holm(p: Floats) -> Floats:
    """Correct p values by Holm's step-down method; NaN stays NaN and does not count as a test."""
    adjusted = np.full(len(p), math.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factor = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factor))
    return adjusted


def ranks(worth: Floats) -> tuple[Floats, Ints]:
    """Return the ranks of models on every unit, 1 for the best.

    Args:
        worth: (models, units) without NaN; more is better.

    Returns:
        (models, units) mean ranks of ties, and places, which models that tie share (1, 1, 3).
    """
    cost = -worth.round(_DECIMALS)
    return rankdata(cost, axis=0), rankdata(cost, method="min", axis=0).astype(np.int64)
