"""Slices encoded in the background are the same slices, each of them once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import BrightPredictor
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.intensity import choose_intensity
from promptseg.models.protocol import Embedding


class Slow(BrightPredictor):
    """Encodes two slices at a time, the first ones slowest."""

    parallel = 2

    def __init__(self) -> None:
        super().__init__()
        self.at_once, self.most = 0, 0
        self.lock = threading.Lock()

    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.01)
        found = super().encode(slices, pixel)
        with self.lock:
            self.at_once -= 1
        return found


@pytest.fixture
def image() -> Image:
    voxels = np.zeros((12, 8, 8), np.uint8)
    voxels += np.arange(12, dtype=np.uint8)[:, None, None] * 20
    return Image(voxels, Geometry.from_spacing(voxels.shape, (1, 1, 1)), modality="CT")


def stack_of(image: Image, predictor: Any, **changes: Any) -> EmbeddedImage:
    return EmbeddedImage(image, "z", choose_intensity(image, window="minmax"), predictor, **changes)


@pytest.mark.parametrize(("start", "end"), [(2, 11), (9, 0)])
def test_every_slice_comes_once_and_in_its_place(image: Image, start: int, end: int) -> None:
    predictor, said = Slow(), []
    stack = stack_of(image, predictor)
    visit = stack.visit(said.append)
    step = 1 if end > start else -1
    for k in range(start, end + step, step):
        found = visit.embedding(k, end).view()[0].numpy()
        np.testing.assert_array_equal(found, stack.pixels(k))
    assert len(predictor.encoded) == stack.encoded == visit.encoded == said[-1] == 10
    assert predictor.most == 2
    for k in range(start, end + step, step):
        stack.embedding(k, end)
    assert len(predictor.encoded) == 10


def test_no_slice_beyond_the_end_is_encoded(image: Image) -> None:
    predictor = Slow()
    stack_of(image, predictor).embedding(3, 4)
    stack_of(image, predictor).embedding(5)
    time.sleep(0.1)
    assert len(predictor.encoded) == 3


def test_a_failure_in_the_background_is_told(image: Image) -> None:
    class Failing(Slow):
        def encode(self, *_: Any, **__: Any) -> list[Embedding]:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        stack_of(image, Failing()).embedding(0, 5)


def test_looking_ahead_can_be_left_out(image: Image) -> None:
    predictor = Slow()
    stack_of(image, predictor, look_ahead=False).embedding(0, 11)
    assert len(predictor.encoded) == 1
