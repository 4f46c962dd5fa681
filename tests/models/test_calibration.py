"""Predicted IoU corrected by the card's maps: of its own weights, where it is reported, in order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from promptseg import Image, Points, Segmenter, assets
from promptseg.inference.predictor import Predictor
from promptseg.models.calibration import IouMap, asked_with
from promptseg.models.card import ModelCard
from promptseg.models.cards import CARDS, finetuned_card
from promptseg.models.protocol import Embedding, SlicePrompt
from train.tiny import TINY, build_tiny

SLICE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
CLICK = SlicePrompt(xy=((20.0, 20.0),), labels=(1,))
CLICKS = SlicePrompt(xy=((20.0, 20.0), (30.0, 5.0)), labels=(1, 0))
BOX = SlicePrompt(box=(5.0, 5.0, 30.0, 30.0))
OF_CLICKS = IouMap("click", slope=1.7, shift=-0.6)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    """A tiny SAM that says something between 0 and 1, corrected where it is asked with a lone click."""
    network = build_tiny()
    with torch.no_grad():
        network.mask_decoder.iou_prediction_head.layers[-1].bias.add_(0.5)
    weights = tmp_path / "w.pth"
    weights.touch()
    found = Predictor.of_network(TINY, network, torch.device("cpu"), weights, "eager")
    found.calibration = (OF_CLICKS,)
    return found


@pytest.fixture
def embedding(predictor: Predictor) -> Embedding:
    return predictor.encode([SLICE])[0]


def test_a_map_is_a_logistic_regression_on_log_odds() -> None:
    said = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(OF_CLICKS(said), expit(1.7 * logit(said) - 0.6), atol=1e-6)
    np.testing.assert_allclose(IouMap("box", 1.0, 0.0)(said), said, atol=1e-6)


def test_a_map_keeps_the_order_and_the_ends() -> None:
    said = np.sort(np.random.default_rng(0).uniform(0, 1, 1000))
    assert (np.diff(OF_CLICKS(said)) > 0).all()
    np.testing.assert_array_equal(OF_CLICKS(np.array([0.0, 1.0])), [0, 1])


@pytest.mark.parametrize("slope", [0.0, -1.0, float("nan")])
def test_a_map_that_would_turn_the_order_round_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match="slope above 0"):
        IouMap("click", slope, 0.0)


def test_prompts_are_a_click_a_box_or_more() -> None:
    masked = replace(CLICK, mask=np.ones((40, 50), bool))
    kinds = [
        asked_with(p) for p in (CLICK, BOX, CLICKS, masked, replace(BOX, xy=CLICK.xy, labels=(1,)))
    ]
    assert kinds == ["click", "box", "more", "more", "more"]


def test_a_lone_click_is_corrected_and_what_else_is_asked_along_is_not(
    predictor: Predictor, embedding: Embedding
) -> None:
    asked = [BOX, CLICK, CLICKS, CLICK]
    plain, found = (predictor.decode(embedding, asked, calibrated=c) for c in (False, True))
    np.testing.assert_array_equal(found.masks, plain.masks)
    np.testing.assert_array_equal(found.iou[[0, 2]], plain.iou[[0, 2]])
    said = plain.iou[[1, 3]].astype(np.float64)
    assert ((said > 0) & (said < 1)).all()
    np.testing.assert_allclose(found.iou[[1, 3]], expit(1.7 * logit(said) - 0.6), rtol=1e-4)
    np.testing.assert_array_equal(predictor.model.decode(embedding, asked).iou, plain.iou)


def test_the_three_masks_of_a_click_keep_their_order(
    predictor: Predictor, embedding: Embedding
) -> None:
    plain, found = (predictor.decode(embedding, [CLICK], calibrated=c) for c in (False, True))
    assert plain.candidates is not None
    assert found.candidates is not None
    said = plain.candidates.iou.astype(np.float64)
    np.testing.assert_allclose(found.candidates.iou, expit(1.7 * logit(said) - 0.6), rtol=1e-4)
    np.testing.assert_array_equal(np.argsort(said), np.argsort(found.candidates.iou))
    np.testing.assert_array_equal(found.iou, found.candidates.iou.max(axis=1))


@pytest.fixture
def brought() -> Iterator[ModelCard]:
    """The card of the weights that the package brings, with a map whether or not it has one."""
    card = CARDS["promptseg-lite"]
    CARDS["promptseg-lite"] = replace(card, calibration=(OF_CLICKS,))
    yield CARDS["promptseg-lite"]
    CARDS["promptseg-lite"] = card


def test_maps_belong_to_the_weights_that_they_were_measured_with(
    brought: ModelCard, tmp_path: Path
) -> None:
    own = assets.fetch(brought.weights, quiet=True)
    assert Predictor.load("promptseg-lite", "cpu", engine="eager").calibration == (OF_CLICKS,)
    same = Predictor.load(f"promptseg-lite={own}", "cpu", engine="eager")
    assert same.calibration == (OF_CLICKS,)
    assert Predictor.load(f"mobile-sam={own}", "cpu", engine="eager").calibration == ()
    other = tmp_path / "other.safetensors"
    _with_one_more_bit(own, other)
    assert Predictor.load(f"promptseg-lite={other}", "cpu", engine="eager").calibration == ()


def _with_one_more_bit(own: Path, other: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copy(own, other)
    tensors = load_file(other)
    tensors["mask_decoder.iou_token.weight"].add_(1e-2)
    save_file(tensors, other)


def test_what_is_trained_from_it_has_none_of_its_maps(brought: ModelCard) -> None:
    said = {
        **dict.fromkeys(("modalities", "licence"), "x"),
        "name": "mine",
        "base": brought.name,
        "prompts": ["box"],
    }
    assert finetuned_card(said, "card.json").calibration == ()


def test_what_a_user_is_told_is_the_corrected_one(
    predictor: Predictor, embedding: Embedding
) -> None:
    segmenter = Segmenter(predictor)
    image = Image.from_array(SLICE)
    (segment,) = segmenter.segment(image, Points(((20.0, 20.0),), (1,))).segments
    predictor.calibration = ()
    (plain,) = segmenter.segment(image, Points(((20.0, 20.0),), (1,))).segments
    assert segment.predicted_iou is not None
    assert plain.predicted_iou is not None
    expected = expit(1.7 * logit(float(plain.predicted_iou)) - 0.6)
    assert segment.predicted_iou == pytest.approx(expected, rel=1e-3)
