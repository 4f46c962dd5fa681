"""cgF1 against counts by hand, one threshold and one phrase after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from promptseg.metrics.gated import THRESHOLDS, Asked, gated_f1


def by_hand(asked: list[Asked], threshold: float) -> tuple[float, float]:
    """F1 at one threshold, and the correlation as numpy has it."""
    hits = spurious = missed = 0
    for one in asked:
        if one.objects:
            own = sum(iou >= threshold for iou in one.ious)
            hits, spurious, missed = (
                hits + own,
                spurious + one.found - own,
                missed + one.objects - own,
            )
    there = [float(one.objects > 0) for one in asked]
    said = [float(one.found > 0) for one in asked]
    return 2 * hits / (2 * hits + spurious + missed), float(np.corrcoef(there, said)[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_it_is_f1_times_the_correlation_of_there_being_something(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = []
    for _ in range(200):
        objects, found = rng.integers(0, 4, 2).tolist()
        pairs = min(objects, found)
        asked.append(Asked(tuple(rng.uniform(0, 1, pairs).tolist()), objects, found))
    result = gated_f1(asked)
    for threshold, f1 in zip(THRESHOLDS, result.f1, strict=True):
        expected, correlation = by_hand(asked, threshold)
        assert f1 == pytest.approx(expected, abs=2e-4)  # what the official code adds below
        assert result.mcc == pytest.approx(correlation, abs=1e-6)
        assert result.at(threshold) == pytest.approx(expected * correlation, abs=2e-4)
    assert result.localisation == pytest.approx(np.mean(result.f1))
    assert result.score == pytest.approx(np.mean([result.at(t) for t in THRESHOLDS]))
    assert (result.there, result.absent) == (
        sum(one.objects > 0 for one in asked),
        sum(one.objects == 0 for one in asked),
    )


def test_what_is_invented_where_nothing_is_counts_in_the_correlation_alone() -> None:
    right = [Asked((0.9,), 1, 1)] * 6
    quiet, loud = (gated_f1([*right, *[Asked((), 0, n)] * 4]) for n in (0, 7))
    assert quiet.f1 == loud.f1
    assert quiet.score == pytest.approx(0.9, abs=1e-3)  # all but 0.95
    assert loud.mcc == 0  # found everywhere: nothing is known
    some = gated_f1([*right, Asked((), 0, 1), *[Asked((), 0, 0)] * 3])
    assert some.mcc == pytest.approx((6 * 3) / math.sqrt(7 * 6 * 4 * 3), abs=1e-6)


def test_nothing_asked_is_nothing_known() -> None:
    assert gated_f1([]) == ((0.0,) * 10, 0.0, 0, 0)
    assert gated_f1([Asked((), 2, 0)]).score == 0
