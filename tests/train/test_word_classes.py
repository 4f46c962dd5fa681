"""Classes of a collection as words: which each becomes, what an image has, what is known absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from promptseg.datasets.collection import Sample, Target
from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.models.families.words.network import About, WordsHead
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.train.words.features import WordFeatures
from promptseg.train.words.images import WordImage, cut_out
from promptseg.train.words.learn import asked_of
from promptseg.train.words.teach import new_words, taught_images
from train.word_collection import Shades

KNOWN = Vocabulary([Concept("nucleus")])


def sample(
    key: str, *classes: str, modality: str = "fundus", absent: Sequence[str] | None = None
) -> Sample:
    """A sample with an object of each class, each in a layer of its own."""
    targets = [Target(1, name, 100, (0, 0, 1, 1), layer) for layer, name in enumerate(classes)]
    return Sample(
        key=key,
        dataset=key.partition("/")[0],
        case=key,
        patient=key,
        group=key,
        slice=None,
        modality=modality,
        shape=(64, 64),
        pixel=(1.0, 1.0),
        targets=tuple(targets),
        split="train",
        rule="",
        absent=None if absent is None else tuple(absent),
    )


class Layers:
    """A collection of one set of label layers for all samples."""

    def __init__(self, *masks: NDArray[np.bool_]) -> None:
        self.layers = np.stack(masks).astype(np.uint16)

    def read(self, sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        return np.zeros(sample.shape, np.uint8), self.layers


def square(low: int, high: int) -> NDArray[np.bool_]:
    mask = np.zeros((64, 64), bool)
    mask[low:high, low:high] = True
    return mask


DISC, CUP = square(10, 50), square(20, 40)


def taught_on(
    samples: Sequence[Sample],
    masks: Sequence[NDArray[np.bool_]],
    renamed: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[Vocabulary, list[WordImage]]:
    """The vocabulary after a teaching, and the whole images that it learns from."""
    taught = new_words(samples, KNOWN, renamed or {})
    words = KNOWN.with_more({c.name: c for c in taught.values()}.values())
    collection: Any = Layers(*masks)
    each = taught_images(collection, {"train": samples}, words, taught, 0, 0)
    return words, [image for image, _ in each]


def whole(mask: NDArray[np.bool_]) -> WordImage:
    """A picture with one object of the first word."""
    picture = np.zeros(mask.shape, np.uint8)
    labels, objects = mask.astype(np.uint8), mask.astype(np.uint16)
    return WordImage("first", "a", "p", "US", picture, labels, objects, (0,))


def shades(words: Vocabulary) -> Predictor:
    """A model whose embeddings are gray values."""
    head = WordsHead()
    head.about = About(words, "promptseg-lite", "0" * 64)
    card = replace(CARDS["promptseg-words"], words=words.names)
    return Predictor(Shades(card, None, torch.device("cpu"), head), Path("none.pt"), "0" * 64)


def areas(image: WordImage, words: Vocabulary) -> dict[str, int]:
    """Pixels of every word of an image."""
    pixels = {name: int((image.labels == n).sum()) for n, name in enumerate(words.names, 1)}
    return {name: count for name, count in pixels.items() if count}


@pytest.mark.parametrize(
    "word", ["optic cup", "optic cup, inner", "optic cup (physiologic)", "(cup)", "zone 2 cup"]
)
def test_a_class_is_learnt_whatever_it_is_called(word: str) -> None:
    words, (image,) = taught_on([sample("a/1", "cup")], [CUP], {"cup": (word, "pit")})
    assert words.names == ("nucleus", word)
    assert areas(image, words) == {word: 400}
    assert image.known == (1,)


def test_classes_of_one_name_are_one_word_with_the_modalities_and_synonyms_of_all() -> None:
    samples = [
        sample("a/1", "tumour (CT)", modality="CT"),
        sample("b/1", "tumour (MR)", modality="MR"),
        sample("b/2", "tumour (MR)", modality="unknown"),
    ]
    words, images = taught_on(samples, [CUP])
    assert words.concepts[1:] == (Concept("tumour", ("CT", "MR")),)
    assert [areas(image, words) for image in images] == [{"tumour": 400}] * 3
    renamed = {
        "tumour (CT)": ("growth", "mass", "bulk"),
        "tumour (MR)": ("growth", "bulk", "neoplasia"),
    }
    words, images = taught_on(samples, [CUP], renamed)
    assert words.concepts[1:] == (Concept("growth", ("CT", "MR"), ("mass", "bulk", "neoplasia")),)
    assert [areas(image, words) for image in images] == [{"growth": 400}] * 3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_class_within_another_is_learnt_and_so_is_all_of_the_other(
    order: tuple[int, int], tmp_path: Path
) -> None:
    named = [("optic disc", DISC), ("optic cup", CUP)]
    (one, other), masks = zip(*(named[k] for k in order), strict=True)
    words, (image,) = taught_on([sample("a/1", one, other)], masks)
    assert areas(image, words) == {"optic disc": 1600, "optic cup": 400}
    disc, cup = words.names.index("optic disc"), words.names.index("optic cup")
    np.testing.assert_array_equal(image.mask(disc), DISC)
    np.testing.assert_array_equal(image.mask(cup), CUP)
    features = WordFeatures(tmp_path)
    plain = whole(square(4, 30))  # before it, of one layer
    features.add([(plain, "train"), (image, "train")], shades(words))
    features.add([(replace(plain, key="last"), "train")], shades(words))
    assert [facts.layers for facts in features.facts] == [1, 2, 1]
    assert features.facts[1].there == (1, 2)
    np.testing.assert_array_equal(features.maps(2), features.maps(0))
    again = WordFeatures(tmp_path)
    np.testing.assert_array_equal(again.maps(2), features.maps(0))
    asked = asked_of(again, 1, (), np.random.default_rng(0), places=4096)
    assert asked.words.tolist() == [1, 2]
    assert asked.there.tolist() == [[True, True]]
    pixels = asked.masks[0].sum((1, 2)) / asked.masks[0, 0].numel()
    np.testing.assert_allclose(pixels[disc - 1], DISC.mean(), rtol=0.02)
    np.testing.assert_allclose(pixels[cup - 1], CUP.mean(), rtol=0.02)
    middle = (asked.depth[0] > 0.97).sum((1, 2))
    assert (middle > 0).all(), "each is deepest in its own middle"
    assert not asked.depth[0][~asked.masks[0]].any()


def test_words_that_do_not_meet_share_a_layer() -> None:
    words, (image,) = taught_on([sample("a/1", "one", "other")], [CUP, square(50, 60)])
    assert len(image.labels) == 1
    assert areas(image, words) == {"one": 400, "other": 100}


def test_pieces_keep_what_is_within_another() -> None:
    small = square(12, 24)
    words, (image,) = taught_on([sample("a/1", "optic disc", "optic cup")], [DISC, small])
    pieces = list(cut_out(image, words.names.index("optic cup"), 4, seed=0))
    assert pieces
    for without, with_ in zip(pieces[::2], pieces[1::2], strict=True):
        assert "optic cup" not in areas(without, words)
        assert areas(with_, words)["optic cup"] > 0
        assert areas(with_, words)["optic disc"] >= areas(with_, words)["optic cup"]
        assert len(without.labels) == 1


def test_what_was_not_looked_for_on_an_image_is_not_known_to_be_absent() -> None:
    samples = [
        sample("a/1", "cup"),
        sample("a/2", "disc", absent=("fovea",)),
        sample("a/3", "fovea", absent=("cup",)),
        sample("a/4", absent=("cup", "disc")),
        sample("a/5", absent=("vein",)),  # nobody ever found one
        sample("a/6", absent=()),
        sample("b/1", "disc"),
    ]
    words, images = taught_on(samples, [CUP])
    assert words.names == ("nucleus", "cup", "disc", "fovea")
    known = {image.key: {words.names[k] for k in image.known} for image in images}
    assert known == {
        "a/1": {"cup", "disc", "fovea"},  # all of its dataset were looked for
        "a/2": {"disc", "fovea"},
        "a/3": {"fovea", "cup"},
        "a/4": {"cup", "disc"},
        "b/1": {"disc"},
    }


def test_a_word_of_two_classes_is_absent_where_both_were_looked_for() -> None:
    renamed = {"cup": ("hollow",), "pit": ("hollow",), "disc": ("disc",)}
    samples = [
        sample("a/1", "cup", absent=("pit", "disc")),
        sample("a/2", "disc", absent=("cup",)),
        sample("a/3", "disc", absent=("cup", "pit")),
        sample("a/4", "pit", absent=()),
    ]
    words, images = taught_on(samples, [CUP], renamed)
    known = {image.key: {words.names[k] for k in image.known} for image in images}
    both = {"hollow", "disc"}
    assert known == {"a/1": both, "a/2": {"disc"}, "a/3": both, "a/4": {"hollow"}}


def test_sides_of_a_class_are_words_of_their_own() -> None:
    taught = new_words([sample("a/1", "lung, left", "lung (right)")], KNOWN, {})
    assert {k: c.name for k, c in taught.items()} == {
        "lung, left": "left lung",
        "lung (right)": "right lung",
    }


def test_a_word_that_nobody_could_ask_for_is_not_taught() -> None:
    with pytest.raises(InputError, match=r"one side, for the class 'both'.*--word"):
        new_words([sample("a/1", "both")], KNOWN, {"both": ("left and right lung",)})
