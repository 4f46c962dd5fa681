"""Words of a closed vocabulary: what is refused before any work, what is warned of."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from conformance.other_kinds import BrightVocabulary
from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.models.families.words.vocabulary import Concept, Vocabulary
from promptseg.prompts import Box, Text
from promptseg.result import Result
from promptseg.segment.segmenter import Segmenter
from promptseg.terms import term, terms


def segment(
    *prompts: Text,
    modality: str = "US",
    force: bool = False,
    model: BrightVocabulary | None = None,
) -> tuple[Result, BrightVocabulary]:
    values = np.zeros((40, 60), np.uint8)
    values[4:20, 5:25] = 200
    model = model or BrightVocabulary()
    segmenter = Segmenter(Predictor(model, Path("none.pt"), "0" * 64))
    image = Image(values, Geometry.pixels(values.shape), modality)
    return segmenter.segment(image, *prompts, window="minmax", force=force), model


def test_an_unknown_word_is_refused_before_the_image_is_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("encoded")

    monkeypatch.setattr(BrightVocabulary, "encode", never)
    with pytest.raises(
        PromptError,
        match=r"knows: bright, liver, spleen, got 'brght one'; the nearest is 'bright'",
    ):
        segment(Text("brght one"))


def test_force_asks_for_the_nearest_word_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result, model = segment(Text("brght one"), force=True)
    assert (
        "'brght one' is no word that promptseg-words knows: forced, it looks for 'bright'"
        in caplog.text
    )
    assert [p.text for p in model.phrases] == ["bright"]
    assert result.names == {1: "brght one"}  # whose it is stays to be seen
    (fact,) = result.provenance.objects or ()
    assert fact.words is not None
    assert fact.words["text"] == "bright"  # what the model was asked
    caplog.clear()
    segment(Text("light patches"), force=True)
    assert "forced" not in caplog.text
    with pytest.raises(PromptError, match="both mean bright"):
        segment(Text("bright", name="a"), Text("brght one", name="b"), force=True)


@pytest.mark.parametrize("second", ["bright", "light patches"])
def test_two_phrases_for_one_thing_are_refused(second: str) -> None:
    with pytest.raises(PromptError, match="both mean bright"):
        segment(Text("bright", name="a"), Text(second, name="b"))


def test_examples_are_refused() -> None:
    with pytest.raises(UnsupportedPromptError, match="words alone"):
        segment(Text("bright", boxes=(Box((1, 1, 9, 9)),)))


def test_a_word_for_another_modality_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        segment(Text("liver"))
    assert "was trained to find 'liver' in MR, not in US" in caplog.text


def test_a_word_for_its_own_modality_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result, model = segment(Text("bright"))
        segment(Text("bright"), modality="unknown")
    assert "was trained" not in caplog.text
    assert result["bright"].sum() == 320
    assert [p.text for p in model.phrases] == ["bright"]


def knowing(*names: str) -> BrightVocabulary:
    """A model that was taught these words."""
    model = BrightVocabulary()
    model.words = Vocabulary(Concept(name) for name in names)
    return model


TABLE = [
    name
    for known in (*terms("structure").values(), *terms("abnormality").values())
    for name in (known.name, *known.synonyms)
]


@pytest.mark.parametrize(
    "name", [*TABLE, "left lung", "liver segment 8", "vertebra L1", "kidney 2", "脑"]
)
def test_a_word_is_taken_under_its_own_name(name: str) -> None:
    _, model = segment(Text(name), model=knowing(name))
    assert [p.text for p in model.phrases] == [name]
    _, model = segment(Text(f"  {name.upper()} "), model=knowing(name))
    assert [p.text for p in model.phrases] == [name]


def test_the_words_of_the_table_come_second_and_leave_no_number_out() -> None:
    for phrase, known in (
        ("lungs", "lung"),
        ("urinary bladder", "bladder"),
        ("cancer", "neoplasm"),
    ):
        result, model = segment(Text(phrase), model=knowing(known))
        assert [p.text for p in model.phrases] == [known]
        assert result.names == {1: known}
        (fact,) = result.provenance.objects or ()
        assert fact.words is not None
        assert fact.words["code"] == term(known).code
    result, model = segment(Text("urinary bladder"), model=knowing("urinary bladder"))
    (fact,) = result.provenance.objects or ()
    assert fact.words is not None
    assert fact.words["code"] == term("bladder").code
    for phrase, known in (
        ("kidney 2", "kidney"),
        ("vertebra 3", "vertebra"),
        ("liver 脑", "liver"),
    ):
        with pytest.raises(PromptError, match=f"the nearest is '{known}'"):
            segment(Text(phrase), model=knowing(known))
