"""The arithmetic of the benchmarks of interaction and quality, on numbers done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interactive import Row, check_same_work, read_rows, spread, summary, write_rows
from quality import Flagging, Group, area_under_curve, best_threshold, correlations, held_out

PREDICTED = np.array([0.2, 0.4, 0.5, 0.7, 0.8, 0.9])
BAD = np.array([True, True, False, True, False, False])


def row(dataset: str, start: str, number: int, dsc: float, predicted: float = 0.9) -> Row:
    return Row("mobile-sam", dataset, "a", 1, 0, start, number, dsc, predicted)


def test_the_threshold_has_the_largest_youden_j() -> None:
    assert best_threshold(PREDICTED, BAD) == pytest.approx(0.45)  # J 2/3; 0.75 has as much
    assert best_threshold(np.array([0.1, 0.2, 0.9]), np.array([True, True, False])) == 0.55


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7]), st.booleans()), min_size=2))
def test_no_other_threshold_does_better(pairs: list[tuple[float, bool]]) -> None:
    predicted, bad = (np.array(column) for column in zip(*pairs, strict=True))
    if bad.all() or not bad.any() or len(set(predicted)) < 2:
        return

    def youden(threshold: float) -> float:
        flagging = Flagging.of(predicted < threshold, bad)
        return flagging.sensitivity + flagging.specificity

    best = youden(best_threshold(predicted, bad))
    assert (
        best
        >= max(youden(t) for t in (0.2, 0.4, 0.6) if min(predicted) < t < max(predicted)) - 1e-9
    )


def test_flagging_counts_shares() -> None:
    found = Flagging.of(PREDICTED < 0.6, BAD)
    assert found == pytest.approx((2 / 3, 2 / 3, 2 / 3, 0.5))
    nothing = Flagging.of(np.zeros(6, dtype=bool), BAD)
    assert nothing[:2] == (0, 1)
    assert np.isnan(nothing.precision)


def test_area_under_the_curve_is_the_share_of_ordered_pairs() -> None:
    assert area_under_curve(PREDICTED, BAD) == pytest.approx(8 / 9)
    assert area_under_curve(np.full(6, 0.5), BAD) == pytest.approx(0.5)
    assert area_under_curve(-PREDICTED, BAD) == pytest.approx(1 / 9)


def test_a_dataset_is_flagged_with_the_threshold_of_the_others() -> None:
    dataset = np.repeat(["a", "b"], 4)
    predicted = np.array([0.1, 0.2, 0.8, 0.9, 0.6, 0.65, 0.85, 0.95])
    dsc = np.array([0.1, 0.2, 0.8, 0.9] * 2)
    found = held_out(Group("box", dataset, predicted, dsc))
    # a is flagged below 0.75, b below 0.5: both bad ones of a, none of b
    assert found == pytest.approx((0.5, 1, 1, 0.25))


def test_correlation_within_datasets_leaves_out_what_differs_between_them() -> None:
    level = np.repeat([0.0, 0.5], 5)
    step = np.tile(np.arange(5) / 20, 2)
    group = Group("box", np.repeat(["a", "b"], 5), level + step, 1 - level + step)
    pearson, spearman, within, ranks, count = correlations(group)
    assert pearson < 0
    assert spearman < 0
    assert (within, ranks, count) == pytest.approx((1, 1, 2))


def test_true_iou_follows_from_dsc() -> None:
    group = Group.of(
        "box", [row("a", "box", 0, 2 / 3), row("a", "box", 0, 1), row("a", "box", 0, 0)]
    )
    assert group.iou == pytest.approx([0.5, 1, 0])
    assert list(group.bad) == [False, False, True]


@given(st.integers(0, 30), st.integers(2, 9))
def test_spread_keeps_both_ends_in_order(length: int, count: int) -> None:
    found = spread(range(length), count)
    assert len(found) == min(length, count)
    assert found == sorted(set(found))
    if length:
        assert (found[0], found[-1]) == (0, length - 1)


def test_rows_come_back_from_their_file_and_only_the_same_work_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    rows = [row("a", "box", number, 0.5, 0.25) for number in (0, 1)]
    assert read_rows(path) == []
    write_rows(rows, path)
    assert read_rows(path) == rows
    assert [p.name for p in path.parent.iterdir()] == ["rows.csv"]
    check_same_work(rows, "mobile-sam", ["box"], 1)
    check_same_work([], "lite-medsam", ["point"], 8)
    for model, rounds in (("lite-medsam", 1), ("mobile-sam", 2)):
        with pytest.raises(SystemExit, match="name another file"):
            check_same_work(rows, model, ["box"], rounds)


def test_the_summary_is_a_mean_of_dataset_means() -> None:
    rows = [row("a", "box", 0, 0.2), row("a", "box", 0, 0.4), row("b", "box", 0, 0.9)]
    assert summary(rows, ["a", "b"]).splitlines() == [
        "| dataset | objects | box |",
        "|---|---|---|",
        "| a | 2 | 0.300 |",
        "| b | 1 | 0.900 |",
        "| mean of 2 datasets | 3 | 0.600 |",
    ]
