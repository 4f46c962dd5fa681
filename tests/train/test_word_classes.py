"""Classes of a collection as words: which each becomes, what an image has, what is known absent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from promptseg.datasets.collection import Sample, Target
from promptseg.errors import InputError
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.train.words.teach import new_words

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


def test_sides_of_a_class_are_words_of_their_own() -> None:
    taught = new_words([sample("a/1", "lung, left", "lung (right)")], KNOWN, {})
    assert {k: c.name for k, c in taught.items()} == {
        "lung, left": "left lung",
        "lung (right)": "right lung",
    }


def test_a_word_that_nobody_could_ask_for_is_not_taught() -> None:
    with pytest.raises(InputError, match=r"one side, for the class 'both'.*--word"):
        new_words([sample("a/1", "both")], KNOWN, {"both": ("left and right lung",)})
