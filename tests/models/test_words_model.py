"""The head for words: what it gives, its file, and what must not fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptseg.errors import ModelError, PromptError, UnsupportedPromptError
from promptseg.inference.predictor import Predictor
from promptseg.models.base_weights import base_tensors, encoder_sha256
from promptseg.models.cards import CARDS
from promptseg.models.checkpoint import identify, open_checkpoint, read_checkpoint
from promptseg.models.families.words.file import head_tensors
from promptseg.models.families.words.model import WordsModel
from promptseg.models.families.words.network import STATE, About, WordsHead
from promptseg.models.families.words.objects import boxes_of, objects_of
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.models.protocol import ClosedWords, Phrase, SlicePrompt, WordModel

CARD = CARDS["promptseg-words"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load("promptseg-words", "cpu", True, "eager")


def test_it_is_a_model_of_both_kinds_and_its_file_is_small(predictor: Predictor) -> None:
    assert isinstance(predictor.model, WordsModel)
    assert isinstance(predictor.model, WordModel)
    assert isinstance(predictor.model, ClosedWords)
    head = predictor.model.head
    assert 1e6 < sum(p.numel() for p in head.parameters()) < 3e6
    assert predictor.weights.stat().st_size < 8e6
    assert head.vocabulary.names == CARD.words


def test_it_answers_boxes_as_its_base_does(predictor: Predictor) -> None:
    values = np.zeros((60, 80), np.uint8)
    values[20:40, 30:50] = 200
    box = [SlicePrompt(box=(28, 18, 52, 42))]
    base = Predictor.load("promptseg-lite", "cpu", True, "eager")
    masks = [p.decode(p.encode([values])[0], box).masks for p in (predictor, base)]
    np.testing.assert_array_equal(*masks)
    assert masks[0].any()


def test_unknown_words_and_examples_are_refused(predictor: Predictor) -> None:
    (embedding,) = predictor.encode([np.zeros((32, 32), np.uint8)])
    with pytest.raises(PromptError, match="the nearest is"):
        predictor.find(embedding, [Phrase("liver")])
    with pytest.raises(UnsupportedPromptError, match="boxes around examples"):
        predictor.find(embedding, [Phrase("nucleus", boxes=((1, 1, 5, 5),))])
    assert predictor.find(embedding, []) == []


def test_a_word_means_the_same_whatever_else_is_asked() -> None:
    torch.manual_seed(0)
    head = WordsHead().eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    features = torch.randn(1, 256, 64, 64)
    inside = torch.ones(1, 64, 64, dtype=torch.bool)
    with torch.inference_mode():
        alone = head(features, torch.tensor([2]), inside)
        among = head(features, torch.tensor([0, 2, 5]), inside)
    for one, several in zip(alone, among, strict=True):
        torch.testing.assert_close(one[:, 0], several[:, 1], rtol=1e-4, atol=1e-4)


def test_what_lies_in_the_padding_is_not_looked_at_by_presence() -> None:
    torch.manual_seed(0)
    head = WordsHead(blocks=0).eval()
    features = torch.randn(1, 256, 64, 64)
    other = features.clone()
    other[:, :, 40:] = 5
    inside = torch.zeros(1, 64, 64, dtype=torch.bool)
    inside[:, :36] = True
    words = torch.tensor([0])
    with torch.inference_mode():
        first, then = head(features, words, inside), head(other, words, inside)
    torch.testing.assert_close(first.masks[..., :72, :], then.masks[..., :72, :])


def head_of(*names: str) -> WordsHead:
    head = WordsHead()
    sha256 = encoder_sha256(base_tensors("promptseg-lite"))
    head.about = About(Vocabulary(Concept(n) for n in names), "promptseg-lite", sha256)
    return head


def test_a_head_comes_back_from_its_file_with_its_words(tmp_path: Path) -> None:
    file = tmp_path / "head.safetensors"
    save_file(head_tensors(head_of(*CARD.words)), file)
    tensors = read_checkpoint(file)
    assert any(name.startswith("image_encoder.") for name in tensors)
    assert identify(tensors, file).name == "promptseg-words"
    card, found, _ = open_checkpoint(f"promptseg-words={file}")
    assert (card.name, found) == ("promptseg-words", file)
    assert Predictor.load(file, "cpu", True, "eager").card.words == CARD.words


def test_weights_and_words_that_do_not_match_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "head.safetensors"
    save_file(head_tensors(head_of("fetal head", "liver")), file)
    with pytest.raises(ModelError, match=r"weights for fetal head, liver.*card\.json"):
        Predictor.load(file, "cpu", True, "eager")


@pytest.mark.parametrize("how", ["no words", "broken words", "another encoder", "another base"])
def test_a_head_that_does_not_say_what_it_is_for_is_refused(how: str, tmp_path: Path) -> None:
    head = head_of("fetal head")
    if how == "another encoder":
        head.about = head.about._replace(encoder_sha256="0" * 64)
    if how == "another base":
        head.about = head.about._replace(base="sam-vit-h")
    tensors = head_tensors(head)
    if how == "no words":
        del tensors[STATE]
    if how == "broken words":
        tensors[STATE] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    file = tmp_path / "head.safetensors"
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"head that says its words|embeddings of this|words on"):
        read_checkpoint(file)


def test_shipped_weights_are_of_this_versions_base(predictor: Predictor) -> None:
    state = load_file(predictor.weights)[STATE]
    about = About.unpacked(state, "the package")
    assert about.base == "promptseg-lite"
    assert about.encoder_sha256 == encoder_sha256(base_tensors("promptseg-lite"))


def discs(*middles: tuple[int, int], radius: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:64, :64]
    far = np.stack([np.hypot(rows - r, columns - c) for r, c in middles]).min(0)
    return np.where(far < radius, 4.0, -4.0).astype(np.float32), np.clip(
        1 - far / radius, 0, 1
    ).astype(np.float32)


def test_objects_that_touch_are_told_apart_by_what_lies_deep_in_them() -> None:
    logits, depth = discs((30, 20), (30, 38), (55, 55))
    found = objects_of(logits, depth, several=True)
    assert len(found) == 3
    assert sum(mask.sum() for mask in found) == (logits > 0).sum()
    middles = sorted(np.argwhere(mask).mean(0).round().tolist() for mask in found)
    np.testing.assert_allclose(sorted(c for _, c in middles), [20, 38, 55], atol=1.5)
    assert len(objects_of(logits, depth, several=False)) == 1


def test_a_mask_without_a_deep_place_is_still_an_object_and_specks_are_none() -> None:
    logits, depth = discs((30, 30), radius=4)
    assert len(objects_of(logits, 0 * depth, several=True)) == 1
    logits, depth = discs((30, 30), radius=1)
    assert objects_of(logits, depth, several=True) == []
    assert objects_of(logits, depth, several=False) == []


def test_boxes_have_both_ends_inside() -> None:
    mask = np.zeros((2, 9, 9), bool)
    mask[0, 2:5, 3:8] = True
    assert boxes_of(mask) == [(3, 2, 7, 4), None]


def test_cards_words_decide(predictor: Predictor) -> None:
    other = replace(predictor.card, words=("liver",))
    from promptseg.models.families.words.family import FAMILY

    model = predictor.model
    assert isinstance(model, WordsModel)
    with pytest.raises(ModelError, match="keep weights and card"):
        FAMILY.model(other, model.network, model.device)
