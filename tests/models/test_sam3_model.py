"""A SAM 3 of small size as a model: what every model on slices must do, boxes and words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conformance.model_suite import (
    BOX,
    SHAPE,
    assert_close,
    same,
    slice_of,
    test_a_prompt_that_asks_nothing_is_refused,
    test_an_embedding_knows_its_size_and_has_a_view,
    test_it_is_a_slice_model,
    test_no_prompts_give_no_masks,
    test_slices_of_any_shape_are_taken,
    test_tensors_of_another_model_are_refused,
    test_the_layout_tells_different_embeddings_apart,
)
from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.inference.embeddings import EmbeddingKey, EmbeddingStore
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.families.sam3 import model as sam3
from promptseg.models.families.sam3.tokens import Tokens
from promptseg.models.protocol import Phrase, SlicePrompt, WordModel
from small_sam3 import small_sam3, small_words

pytest.importorskip("transformers")

__all__ = [
    "test_a_prompt_that_asks_nothing_is_refused",
    "test_an_embedding_knows_its_size_and_has_a_view",
    "test_it_is_a_slice_model",
    "test_no_prompts_give_no_masks",
    "test_slices_of_any_shape_are_taken",
    "test_tensors_of_another_model_are_refused",
    "test_the_layout_tells_different_embeddings_apart",
]

CPU = torch.device("cpu")
CARD = replace(CARDS["sam3"], preprocessing=replace(CARDS["sam3"].preprocessing, size=112))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return small_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    network: torch.nn.Module = small_sam3()
    return network


@pytest.fixture
def model(
    network: torch.nn.Module, tokens: Tokens, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Predictor:
    """Made ready, as a user gets it."""
    monkeypatch.setattr(sam3, "words_table", lambda: tokens)
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"")
    return Predictor.of_network(CARD, network, CPU, weights, "eager")


def test_a_box_gives_the_instance_in_it(model: Predictor) -> None:
    (embedding,) = model.encode([slice_of()])
    found = model.decode(embedding, [SlicePrompt(BOX), SlicePrompt((0, 0, 9, 9))])
    assert found.masks.shape == (2, *SHAPE)
    assert found.masks.dtype == np.bool_
    assert ((found.iou > 0) & (found.iou < 1)).all()
    alone = model.decode(embedding, [SlicePrompt((0, 0, 9, 9))])
    assert torch.equal(found.logits[1:], alone.logits)
    restored = embedding.transform.restore(alone.logits)[0] > 0  # type: ignore[attr-defined]
    assert np.array_equal(restored.numpy(), alone.masks[0])


def test_batches_give_what_single_slices_give(model: Predictor) -> None:
    slices = [slice_of(k) for k in range(2)]
    for one, embedding in zip(slices, model.encode(slices), strict=True):
        (alone,) = model.encode([one])
        assert_close(*(model.decode(e, [SlicePrompt(BOX)]) for e in (alone, embedding)))


def test_embeddings_come_back_from_the_disk_bit_for_bit(model: Predictor, tmp_path: Path) -> None:
    (embedding,) = model.encode([slice_of()])
    store, key = EmbeddingStore(tmp_path), EmbeddingKey("facts")
    store.put(key, embedding.tensors())
    kept = store.get(key)
    assert kept is not None
    back = model.unpack(kept, SHAPE)
    assert same(*(model.decode(e, [SlicePrompt(BOX)]) for e in (embedding, back)))


@pytest.mark.parametrize(
    "prompt", [SlicePrompt(xy=((1.0, 1.0),), labels=(1,)), SlicePrompt(mask=np.ones(SHAPE, bool))]
)
def test_what_cannot_be_said_to_it_is_refused_even_if_forced(
    model: Predictor, prompt: SlicePrompt
) -> None:
    with pytest.raises(UnsupportedPromptError, match=r"got a (mask|point); use --model"):
        model.require(set(prompt.kinds))
    with pytest.raises(UnsupportedPromptError, match="words and boxes alone"):
        model.decode(model.encode([slice_of()])[0], [prompt])


def test_phrases_are_answered_in_their_order_and_the_surest_first(model: Predictor) -> None:
    assert isinstance(model.model, WordModel)
    (embedding,) = model.encode([slice_of()])
    phrases = [Phrase("liver"), Phrase("left kidney", (BOX,), ((0, 0, 5, 5),)), Phrase("", (BOX,))]
    together = model.find(embedding, phrases, 0)
    for phrase, findings in zip(phrases, together, strict=True):
        (alone,) = model.find(embedding, [phrase], 0)
        scores = [instance.score for instance in findings.instances]
        assert scores == sorted(scores, reverse=True)
        assert scores == [instance.score for instance in alone.instances]
        assert len(scores) == 12
        assert findings.best == scores[0]
        assert findings.presence is not None
        assert scores[0] <= findings.presence < 1
        some = model.find(embedding, [phrase], scores[4])[0].instances
        assert len(some) == 4
        for instance in findings.instances:
            assert instance.mask.shape == SHAPE
            x0, y0, x1, y1 = instance.box
            assert -1 <= x0 <= x1 + 1 <= SHAPE[1] + 1
            assert -1 <= y0 <= y1 + 1 <= SHAPE[0] + 1
    assert together[0].best != together[1].best


def test_bad_phrases_are_refused(model: Predictor) -> None:
    (embedding,) = model.encode([slice_of()])
    with pytest.raises(PromptError, match="a phrase, got"):
        model.find(embedding, [Phrase("  ")])
    with pytest.raises(PromptError, match="at most 30 parts"):
        model.find(embedding, [Phrase("cells and " * 40)])
