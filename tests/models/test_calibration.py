"""Predicted IoU on the curve of its question."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conformance.test_models import as_it_is
from promptseg.models.calibration import calibrated, question
from promptseg.models.cards import CARDS, finetuned_card
from promptseg.models.protocol import SlicePrompt

CLICK = SlicePrompt(xy=((20.0, 20.0),), labels=(1,))
BOX = SlicePrompt(box=(4, 4, 40, 40))


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        (BOX, "box"),
        (CLICK, "click"),
        (SlicePrompt(xy=((1.0, 2.0), (3.0, 4.0)), labels=(1, 0)), "clicks"),
        (SlicePrompt(box=(1, 2, 3, 4), xy=((1.0, 2.0),), labels=(1,)), "box"),
        (SlicePrompt(mask=np.ones((4, 4), bool)), "correction"),
        (SlicePrompt(xy=((1.0, 2.0),), labels=(1,), mask=np.ones((4, 4), bool)), "correction"),
    ],
)
def test_questions(prompt: SlicePrompt, name: str) -> None:
    assert question(prompt) == name


def test_scores_lie_on_the_curve_and_keep_their_order() -> None:
    curves = {"click": ((0.0, 0.1), (0.5, 0.2), (1.0, 0.8))}
    scores = np.array([[0.0, 0.25, 0.5], [0.75, 0.9, 1.0]], np.float32)
    found = calibrated(scores, CLICK, curves)
    np.testing.assert_allclose(found, [[0.1, 0.15, 0.2], [0.5, 0.68, 0.8]], rtol=1e-6)
    assert (np.diff(found.ravel()) > 0).all()
    np.testing.assert_array_equal(calibrated(scores, BOX, curves), scores)


def test_masks_are_the_same_and_scores_those_of_the_curve() -> None:
    plain = as_it_is("mobile-sam")
    curve = ((0.0, 0.05), (1.0, 0.55))
    card = replace(plain.card, calibration={"click": curve})
    torch.manual_seed(0)
    (embedding,) = plain.encode([np.arange(64 * 48, dtype=np.uint8).reshape(64, 48)])
    before = plain.decode(embedding, [CLICK])
    plain.card = card  # type: ignore[misc]
    after = plain.decode(embedding, [CLICK])
    np.testing.assert_array_equal(before.masks, after.masks)
    np.testing.assert_allclose(after.iou, 0.05 + 0.5 * before.iou, atol=1e-6)
    assert after.candidates is not None
    assert before.candidates is not None
    np.testing.assert_allclose(after.candidates.iou, 0.05 + 0.5 * before.candidates.iou, atol=1e-6)


def test_curves_rise_and_stay_within_0_and_1() -> None:
    for card in CARDS.values():
        for points in card.calibration.values():
            predicted, observed = map(np.array, zip(*points, strict=True))
            assert (np.diff(predicted) > 0).all()
            assert (np.diff(observed) >= 0).all()
            assert min(*predicted, *observed) >= 0
            assert max(*predicted, *observed) <= 1


def test_fine_tuned_weights_begin_without() -> None:
    said = {
        "name": "mine",
        "base": "promptseg-lite",
        "modalities": "CT",
        "licence": "CC0",
        "prompts": ["box"],
    }
    assert not finetuned_card(said, "card.json").calibration
