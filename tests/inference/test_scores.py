"""The model's own estimates are shown as what they estimate: within 0 and 1, and finite or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.errors import ModelError
from promptseg.inference.predictor import Predictor
from train.tiny import TINY, build_tiny

SLICE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
CLICK = ([[(20, 20)]], [[1]])


def predictor(tmp_path: Path, bias: float) -> Predictor:
    """A tiny SAM whose estimates have all this added; its weights are checked nowhere here."""
    network = build_tiny()
    with torch.no_grad():
        network.mask_decoder.iou_prediction_head.layers[-1].bias.fill_(bias)
    weights = tmp_path / "w.pth"
    weights.touch()
    return Predictor.of_network(TINY, network, torch.device("cpu"), weights, "eager")


@pytest.mark.parametrize(("bias", "shown"), [(5.0, 1.0), (-5.0, 0.0)])
def test_an_estimate_that_overshoots_is_shown_within_its_range(
    tmp_path: Path, bias: float, shown: float
) -> None:
    asked = predictor(tmp_path, bias)
    (embedding,) = asked.encode([SLICE])
    for found in (
        asked.decode(embedding, boxes=[(5, 5, 30, 30)]),
        asked.decode(embedding, points=CLICK),
    ):
        np.testing.assert_array_equal(found.iou, [shown])
    assert found.candidates is not None
    np.testing.assert_array_equal(found.candidates.iou, [[shown] * 3])


def test_the_best_of_three_is_told_apart_beyond_the_range(tmp_path: Path) -> None:
    plain, high = predictor(tmp_path, 0.0), predictor(tmp_path, 5.0)
    (embedding,) = plain.encode([SLICE])
    np.testing.assert_array_equal(
        plain.decode(embedding, points=CLICK).masks, high.decode(embedding, points=CLICK).masks
    )


@pytest.mark.parametrize("part", ["image_encoder", "mask_decoder"])
def test_answers_that_are_not_finite_are_refused_by_name(tmp_path: Path, part: str) -> None:
    network = build_tiny()
    with torch.no_grad():
        next(getattr(network, part).parameters()).fill_(float("nan"))
    weights = tmp_path / "w.pth"
    weights.touch()
    asked = Predictor.of_network(TINY, network, torch.device("cpu"), weights, "eager")
    what = "an embedding" if part == "image_encoder" else "mask logits|a predicted IoU"
    with pytest.raises(ModelError, match=rf"NaN or infinity in ({what}) of tiny \(w\.pth\)"):
        asked.decode(asked.encode([SLICE])[0], boxes=[(5, 5, 30, 30)])
