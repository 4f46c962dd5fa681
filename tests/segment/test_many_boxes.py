"""Thousands of boxes on one slice: batches for the decoder, and masks that do not pile up."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fakes import BrightModel
from promptseg import Box
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.models.protocol import Embedding, Prediction, SlicePrompt
from promptseg.segment.segmenter import Segmenter

BOXES = 1_500
MOST = 64  # prompts in one call of a decoder
HELD = 300  # whole masks at a time


class Counting(BrightModel):
    """Answers boxes with themselves, and counts how many at a time and how many masks are held."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.held = self.most_held = 0

    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        self.sizes.append(len(prompts))
        masks = np.zeros((len(prompts), 200, 200), dtype=bool)
        for mask, prompt in zip(masks, prompts, strict=True):
            assert prompt.box is not None
            x0, y0, x1, y1 = (int(v) for v in prompt.box)
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        self.held += len(prompts)
        self.most_held = max(self.most_held, self.held)
        weakref.finalize(masks, self._gone, len(prompts))
        return Prediction(
            torch.zeros(len(prompts), 1, 4, 4), masks, np.ones(len(prompts), dtype=np.float32)
        )

    def _gone(self, count: int) -> None:
        self.held -= count


def predictor_of(model: Counting) -> Predictor:
    return Predictor(model, Path("none.pth"), "0" * 64)


def boxes() -> np.ndarray[Any, Any]:
    """2 x 1 pixels each, no two alike."""
    y, x = np.divmod(np.arange(BOXES), 100)
    return np.stack([2 * x, y, 2 * x + 1, y], axis=-1)


def test_many_boxes_are_answered_in_batches() -> None:
    model = Counting()
    predictor = predictor_of(model)
    slice_ = np.arange(200 * 200, dtype=np.uint8).reshape(200, 200)
    [embedding] = predictor.encode([slice_])
    few = boxes()[:1000]
    found = predictor.decode(embedding, boxes=few)
    assert max(model.sizes) <= MOST
    assert sum(model.sizes) == len(few) == len(found.masks) == len(found.logits) == len(found.iou)
    for mask, (x0, y0, x1, _) in zip(found.masks, few, strict=True):
        assert mask[y0, x0]
        assert mask[y0, x1]
        assert mask.sum() == 2


def test_masks_of_many_objects_do_not_pile_up() -> None:
    model = Counting()
    image = Image.from_array(np.arange(200 * 200, dtype=np.uint8).reshape(200, 200))
    prompts = [Box(tuple(box)) for box in boxes().tolist()]
    result = Segmenter(predictor_of(model)).segment(image, *prompts)
    assert len(result.segments) == BOXES
    assert [s.name for s in result.segments[:3]] == ["object", "object 2", "object 3"]
    assert sum(model.sizes) == BOXES
    assert max(model.sizes) <= MOST
    assert model.most_held <= HELD
    assert all(s.crop.shape == (1, 2) for s in result.segments)
    assert result.segments[-1].region == (slice(14, 15), slice(198, 200))
