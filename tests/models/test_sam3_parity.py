"""Our use of SAM 3's networks against the official code, under random weights, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from models.sam3_peer import official_answer, official_layers, official_sam3, pooled
from promptseg import assets
from promptseg.models.families.sam3.detect import (
    PADDED,
    VISUAL,
    Detections,
    detect,
    encode,
    read,
)
from promptseg.models.families.sam3.keys import own_names
from promptseg.models.families.sam3.layers import every_layer, read_phrases
from promptseg.models.families.sam3.roi import roi_align
from promptseg.models.families.sam3.tokens import Tokens
from small_sam3 import SHAPE, small_sam3

pytestmark = pytest.mark.peer
pytest.importorskip("transformers")

MASKS, OTHERS = 1e-4, 1e-5  # largest differences
BOXES = torch.tensor([[0.3, 0.4, 0.25, 0.3], [0.7, 0.6, 0.4, 0.1]])  # centre, width, height
PHRASES = (
    "liver",
    "the left kidney's cyst, 3 mm",
    "Fetal Head &amp; abdomen",
    "a very long phrase about " + "cells " * 40,
)

Pair = tuple[Any, Any, Tokens]


@pytest.fixture(scope="module")
def words() -> Any:
    return assets.fetch("sam3-words", quiet=True)


@pytest.fixture(scope="module")
def pair(words: Any) -> Pair:
    """The official network, ours with its weights, and our table of words."""
    torch.manual_seed(1)
    official = official_sam3(SHAPE, words)
    tensors = official.state_dict()
    generator = torch.Generator().manual_seed(2)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and (
            tensor.abs().max() == 0 or name.endswith(("pos_embed", "positional_embedding"))
        ):  # none is at zero
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    ours = small_sam3()
    ours.load_state_dict(own_names({f"detector.{k}": v for k, v in tensors.items()}))
    return official, ours, Tokens(words)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(3))


def found(
    pair: Pair, image: Tensor, phrase: str, boxes: Tensor, labels: Sequence[int] = ()
) -> Detections:
    _, ours, tokens = pair
    with torch.inference_mode():
        words = read(ours, tokens([phrase]))
        return detect(ours, encode(ours, image), words, boxes, torch.tensor(labels))


def assert_same(ours: Detections, theirs: dict[str, Tensor], number: int = 0) -> None:
    masks = theirs["pred_masks"][number]
    assert ours.logits.shape == masks.shape
    assert masks.std() > 0.01
    assert (ours.logits - masks).abs().max() < MASKS
    assert (ours.boxes - theirs["pred_boxes_xyxy"][number]).abs().max() < OTHERS
    assert (ours.scores - theirs["pred_logits"][number, :, 0]).abs().max() < OTHERS
    assert (ours.presence - theirs["presence_logit_dec"][number]).abs().max() < OTHERS


@pytest.mark.parametrize("phrase", PHRASES)
def test_text_alone(pair: Pair, image: Tensor, phrase: str) -> None:
    theirs = official_answer(pair[0], image, [phrase])
    ours = found(pair, image, phrase, torch.zeros(0, 4))
    assert_same(ours, theirs)
    probability = theirs["pred_logits"].sigmoid() * theirs["presence_logit_dec"].sigmoid()[:, None]
    torch.testing.assert_close(ours.sure, probability[0, :, 0], atol=OTHERS, rtol=0)


@pytest.mark.parametrize("labels", [(1, 0), (0, 1), (1, 1)])
def test_text_with_positive_and_negative_boxes(
    pair: Pair, image: Tensor, labels: tuple[int, ...]
) -> None:
    theirs = official_answer(pair[0], image, ["liver"], BOXES, [bool(v) for v in labels])
    ours = found(pair, image, "liver", BOXES, labels)
    assert_same(ours, theirs)
    alone = found(pair, image, "liver", torch.zeros(0, 4))
    assert (ours.logits - alone.logits).abs().max() > 10 * MASKS  # boxes are heard


def test_boxes_alone(pair: Pair, image: Tensor) -> None:
    theirs = official_answer(pair[0], image, [VISUAL], BOXES[:1], [True])
    assert_same(found(pair, image, VISUAL, BOXES[:1], (1,)), theirs)


def test_several_phrases_in_one_call(pair: Pair, image: Tensor) -> None:
    phrases = ("liver", "left kidney", "spleen")
    theirs = official_answer(pair[0], image, phrases)
    answers = [found(pair, image, phrase, torch.zeros(0, 4)) for phrase in phrases]
    for number, ours in enumerate(answers):
        assert_same(ours, theirs, number)
    assert (answers[0].logits - answers[1].logits).abs().max() > 10 * MASKS  # words are heard


def test_every_layer_that_training_judges(pair: Pair, image: Tensor) -> None:
    official, ours, tokens = pair
    theirs = official_layers(official, image, "liver")
    with torch.inference_mode():
        words = read_phrases(ours, tokens(["liver", "a spleen of a cat"]))
        nowhere = torch.zeros(2, 1, 4), torch.full((2, 1), PADDED)
        found = every_layer(ours, encode(ours, image), words, *nowhere)
    assert len(found.scores) == len(theirs) == SHAPE.layers[1]
    for k, layer in zip((-1, *range(len(theirs) - 1)), theirs, strict=True):
        assert (found.scores[k, 0] - layer["pred_logits"][0, :, 0]).abs().max() < OTHERS
        assert (found.boxes[k, 0] - layer["pred_boxes"][0]).abs().max() < OTHERS
        assert (found.presence[k, 0] - layer["presence_logit_dec"]).abs().max() < OTHERS
    assert (found.masks[0] - theirs[0]["pred_masks"][0]).abs().max() < MASKS
    assert (found.whole[0] - theirs[0]["semantic_seg"][0, 0]).abs().max() < MASKS


def test_features_of_an_image(pair: Pair, image: Tensor) -> None:
    official, ours, _ = pair
    with torch.inference_mode():
        theirs = official.backbone.forward_image(image)["backbone_fpn"]
        for one, other in zip(encode(ours, image), theirs, strict=True):
            assert (one - other).abs().max() < MASKS


def test_words_become_the_official_numbers(pair: Pair) -> None:
    official, _, tokens = pair
    theirs = official.backbone.language_backbone.tokenizer
    others = (
        "",
        "!",
        "T1-weighted, grade_2 (III)",
        "Leber & Niere",
        "größe ß 漢字 naïve",
        "it's 12",
    )
    for phrase in (*PHRASES, *others):
        assert torch.equal(tokens([phrase])[0], theirs([phrase], context_length=32)[0]), phrase


def test_every_official_tensor_has_its_place(pair: Pair) -> None:
    official, ours, _ = pair
    tensors = official.state_dict()
    named = own_names(tensors)
    assert {k: v.shape for k, v in named.items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }
    unused = sum(v.numel() for v in tensors.values()) - sum(v.numel() for v in named.values())
    left = {
        name: value
        for name, value in tensors.items()
        if "sam2_convs" in name or "points_" in name or name.endswith("freqs_cis")
    }
    token = SHAPE.width  # the class token's position
    assert unused == sum(value.numel() for value in left.values()) + token


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pooling_is_that_of_the_official_code(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    features = torch.randn(5, 9, 13, generator=generator)
    boxes = torch.tensor(
        [[0.0, 0, 13, 9], [2.3, 1.1, 3.0, 8.9], [-3.0, -2, 4, 4], [11.5, 7, 20, 12], [5, 5, 5, 5]]
    )
    expected = pooled(features[None], [boxes], size)
    torch.testing.assert_close(roi_align(features, boxes, size), expected, atol=1e-5, rtol=1e-5)
