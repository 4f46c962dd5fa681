"""Classes of a collection as words: which each becomes, what an image has, what is known absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.datasets.collection import Sample, Target
from promptseg.errors import InputError
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.train.words.images import WordImage
from promptseg.train.words.teach import new_words, taught_images

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


def test_sides_of_a_class_are_words_of_their_own() -> None:
    taught = new_words([sample("a/1", "lung, left", "lung (right)")], KNOWN, {})
    assert {k: c.name for k, c in taught.items()} == {
        "lung, left": "left lung",
        "lung (right)": "right lung",
    }


def test_a_word_that_nobody_could_ask_for_is_not_taught() -> None:
    with pytest.raises(InputError, match=r"one side, for the class 'both'.*--word"):
        new_words([sample("a/1", "both")], KNOWN, {"both": ("left and right lung",)})
