"""Slices of several images in one batch of the encoder."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from promptseg.errors import ModelError
from promptseg.inference.shared import SharedBatches


class Encoder:
    """Gives each slice's mean; remembers its batches, and refuses those with a slice of 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.name = "encoder"

    def encode(self, slices: Any, pixel: Any = (1, 1), parallel: bool = False) -> list[float]:
        self.batches.append(len(slices))
        if any((one == 13).any() for one in slices):
            raise ModelError("finite numbers from the model", "NaN")
        return [float(one.mean()) for one in slices]


def slice_of(value: int, side: int = 4) -> Any:
    return np.full((side, side), value, np.uint8)


def asked(shared: Any, requests: list[list[Any]]) -> list[Any]:
    """What threads get that ask at the same time."""
    together = threading.Barrier(len(requests))

    def one(slices: list[Any]) -> Any:
        with shared.at_work():
            together.wait()
            try:
                return shared.encode(slices)
            except ModelError as error:
                return error

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def test_slices_of_several_threads_share_a_batch_and_everyone_gets_its_own() -> None:
    own = Encoder()
    shared = SharedBatches(own, 4)
    found = asked(shared, [[slice_of(k)] for k in range(8)])
    assert found == [[float(k)] for k in range(8)]
    assert sum(own.batches) == 8
    assert max(own.batches) <= 4
    assert len(own.batches) <= 4
    assert shared.shared >= 1
    assert shared.name == "encoder"


def test_other_shapes_go_apart_and_a_full_batch_at_once() -> None:
    own = Encoder()
    shared = SharedBatches(own, 3)
    found = asked(
        shared, [[slice_of(1)], [slice_of(2, 6)], [slice_of(3), slice_of(4)], [slice_of(5)] * 3]
    )
    assert found == [[1.0], [2.0], [3.0, 4.0], [5.0] * 3]
    assert sorted(own.batches) in ([1, 3, 3], [1, 1, 2, 3])


def test_one_bad_image_harms_no_other() -> None:
    own = Encoder()
    found = asked(SharedBatches(own, 4), [[slice_of(k)] for k in (11, 12, 13, 14)])
    assert [found[k] for k in (0, 1, 3)] == [[11.0], [12.0], [14.0]]
    assert isinstance(found[2], ModelError)


def test_nobody_waits_for_long_where_no_company_comes() -> None:
    own = Encoder()
    shared = SharedBatches(own, 4)
    with shared.at_work(), shared.at_work():  # another one that reads
        assert shared.encode([slice_of(7)]) == [7.0]
    assert own.batches == [1]


@pytest.mark.slow
def test_on_a_cpu_a_shared_batch_gives_what_each_gives_alone() -> None:
    """To the last bits but few: sums may be taken in another order."""
    from promptseg.inference.predictor import Predictor

    own = Predictor.load("promptseg-lite", "cpu", engine="eager")
    rng = np.random.default_rng(0)
    slices = [rng.integers(0, 255, (60, 80), dtype=np.uint8) for _ in range(4)]
    alone = [own.encode([one])[0].tensors()["features"] for one in slices]
    found = asked(SharedBatches(own, 4), [[one] for one in slices])
    for one, (other,) in zip(alone, found, strict=True):
        torch.testing.assert_close(other.tensors()["features"], one, rtol=1e-4, atol=1e-5)
