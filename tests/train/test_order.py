"""Which images are seen when: balanced, reproducible, divided among processes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from promptseg.datasets.collection import Collection
from promptseg.train.order import epoch_order, weights_of
from promptseg.train.schedule import Schedule
from train.tiny import made_data


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory):
    return Collection(made_data(tmp_path_factory.mktemp("many"), images=14)).samples


def test_without_balance_an_epoch_sees_every_image_once(samples):
    weights = weights_of(samples, "none")
    orders = [epoch_order(weights, 0, epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(len(samples)))
    assert not np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], epoch_order(weights, 0, 0))
    assert not np.array_equal(orders[0], epoch_order(weights, 1, 0))


def test_datasets_and_modalities_count_alike(samples):
    some = [s for s in samples if s.dataset == "us"] + [s for s in samples if s.dataset == "mr"][:2]
    weights = weights_of(some, "dataset")
    shares = Counter()
    for sample, weight in zip(some, weights, strict=True):
        shares[sample.dataset] += weight
    assert shares["us"] == pytest.approx(0.5)
    assert shares["mr"] == pytest.approx(0.5)
    seen = Counter(some[k].dataset for e in range(40) for k in epoch_order(weights, 0, e))
    assert seen["mr"] / seen.total() == pytest.approx(0.5, abs=0.03)
    for epoch in range(5):
        counts = Counter(epoch_order(weights, 3, epoch).tolist())
        for k, weight in enumerate(weights):
            assert abs(counts[k] - weight * len(some)) < 1


def test_a_dataset_of_two_modalities_counts_in_both(samples):
    some = [replace(s, dataset="one") for s in samples]
    some += [replace(s, key=f"{s.key}+", dataset="two") for s in samples if s.modality == "MR"]
    shares = Counter()
    for sample, weight in zip(some, weights_of(some, "modality"), strict=True):
        shares[sample.modality] += weight
        shares[sample.modality, sample.dataset] += weight
    assert shares["MR"] == pytest.approx(shares["US"]) == pytest.approx(0.5)
    assert shares["MR", "one"] == pytest.approx(shares["MR", "two"]) == pytest.approx(0.25)


def schedule(images: int = 11, batch: int = 4, **changes) -> Schedule:
    usual = {"micro_batch": 2, "updates": 9, "learning_rate": 1.0, "decay": 0.5, "warmup": 0}
    weights = np.full(images, 1 / images)
    return Schedule(weights, batch, **{**usual, **changes}, seed=0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_processes_share_every_image_of_an_update(count):
    plan = schedule()
    assert plan.per_epoch == 3
    for update in range(9):
        shares = [plan.share(update, rank, count) for rank in range(count)]
        places = sorted(place for share in shares for places in share for place in places)
        alone = sorted(place for places in plan.share(update, 0, 1) for place in places)
        assert places == alone
        assert len(places) == (3 if update % 3 == 2 else 4)
        assert all(len(places) <= 2 for share in shares for places in share)
    seen = Counter(
        n for update in range(3) for part in plan.share(update, 0, 1) for _, _, n in part
    )
    assert set(seen.values()) == {1}
    assert len(seen) == 11


def test_a_resumed_stream_goes_on_where_the_other_was():
    plan = schedule()
    whole = list(plan.shares(0, 1, 2))
    rest = list(plan.shares(4, 1, 2))
    assert whole[-len(rest) :] == rest


def test_the_learning_rate_falls_after_every_epoch_and_rises_at_first():
    plan = schedule(warmup=3)
    rates = [plan.rate(u) for u in range(9)]
    assert rates[:3] == pytest.approx([0.25, 0.5, 0.75])
    assert rates[3:] == pytest.approx([0.5] * 3 + [0.25] * 3)


def test_made_data_is_where_it_was_made(tmp_path: Path):
    assert len(Collection(made_data(tmp_path)).of("train")) == 8
