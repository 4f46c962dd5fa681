"""Which phrases a closed vocabulary takes: lists that are older than the model, and more."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from promptseg.errors import ModelError, PromptError
from promptseg.models.cards import CARDS
from promptseg.models.families.words.concepts import CONCEPTS
from promptseg.models.families.words.vocabulary import MOST, Concept, Vocabulary
from promptseg.terms import term, terms

WORDS = Vocabulary(CONCEPTS)
RECIPE = Path(__file__).parents[2] / "recipes" / "words"
REFUSED = [
    line for line in (RECIPE / "refused.txt").read_text().splitlines() if not line.startswith("#")
]
ACCEPTED = [
    (row["phrase"], row["concept"])
    for row in csv.DictReader((RECIPE / "accepted.csv").read_text().splitlines())
]


def test_the_lists_have_fifty_each() -> None:
    assert len({*REFUSED}) == len({*ACCEPTED}) == 50


@pytest.mark.parametrize("phrase", REFUSED)
def test_what_it_does_not_know_is_refused_and_the_nearest_offered(phrase: str) -> None:
    with pytest.raises(PromptError, match="the nearest is"):
        WORDS.look_up(phrase)


@pytest.mark.parametrize(("phrase", "name"), ACCEPTED)
def test_other_words_for_it_are_taken(phrase: str, name: str) -> None:
    assert WORDS.look_up(phrase).name == name


@pytest.mark.parametrize(
    ("phrase", "nearest"),
    [("fetal hand", "fetal head"), ("nerv root", "peripheral nerve"), ("vertebrate", "vertebra")],
)
def test_the_nearest_is_like_what_was_said(phrase: str, nearest: str) -> None:
    assert WORDS.nearest(phrase) == nearest


@pytest.mark.parametrize("phrase", ["", "  ", "-", "?!"])
def test_an_empty_phrase_is_refused(phrase: str) -> None:
    with pytest.raises(PromptError, match="say one of fetal head"):
        WORDS.look_up(phrase)


def test_a_typing_error_in_a_long_word_is_taken_in_a_short_one_not() -> None:
    assert WORDS.look_up("vertabra").name == "vertebra"
    assert WORDS.look_up("intubaton tube").name == "intubation tube"
    for phrase in ("bell", "cello", "nerd"):
        assert WORDS.known(phrase) is None


def test_numbers_and_letters_of_any_script_tell_words_apart() -> None:
    names = (
        *("liver segment 4", "liver segment 4a", "vertebra L1", "vertebra L2", "脑", "肝"),
        *("печень", "почка", "segment 1 of zone 2", "segment 2 of zone 1", "foie", "foié"),
        *("की", "का"),  # vowel signs are marks, not letters
    )
    several = Vocabulary(Concept(name) for name in names)
    for name in names:
        assert several.look_up(name).name == name
    others = {
        "liver segment 8": None,
        "liver segments IV": None,
        "segment of the liver": None,
        "Segments-4 of the liver": "liver segment 4",
        "liver_segmant_4": "liver segment 4",
        "liver segmant 8": None,
        "L2 vertebrae": "vertebra L2",
        "vertebra L 2": "vertebra L2",
        "vertebra": None,
        "vertebra L3": None,
        "肺": None,
        "ПЕЧЕНЬ": "печень",
        "печенн": None,
        "foi": None,
    }
    assert {phrase: getattr(several.known(phrase), "name", None) for phrase in others} == others
    assert Vocabulary([Concept("脑")]).known("肝") is None
    assert Vocabulary([Concept("in"), Concept("whole")]).look_up("whole").name == "whole"


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("epicardium", "pericardium"),
        ("pericardium", "epicardium"),
        ("peritoneum", "perineum"),
        ("metatarsal", "metacarpal"),
        ("adductor", "abductor"),
        ("adductor", "abducter"),  # nearer to another word
        ("terminal ilium", "terminal ileum"),
        ("gluteus maximus", "gluteus minimus"),
        ("hypothalamus", "epithalamus"),
        ("hypocenter", "epicenter"),  # another beginning is another word, in no list
    ],
)
def test_another_word_is_no_misspelling(known: str, asked: str) -> None:
    words = Vocabulary([Concept(known)])
    assert words.known(known) is not None
    assert words.known(asked) is None


def test_no_term_of_the_table_is_taken_for_another() -> None:
    table = [*terms("structure").values(), *terms("abnormality").values()]
    for own in table:
        words = Vocabulary([Concept(own.name)])
        assert words.known(own.name.upper()) is not None
        for other in table:
            if other.name != own.name:
                assert words.known(other.name) is None, (own.name, other.name)
    for name, misspelt in {"placenta": "placanta", "hippocampus": "hipocampuss"}.items():
        assert Vocabulary([Concept(name)]).look_up(misspelt).name == name


def test_one_phrase_has_one_meaning() -> None:
    with pytest.raises(ModelError, match="two for"):
        WORDS.with_more([Concept("Nuclei")])
    with pytest.raises(ModelError, match=f"at most {MOST}"):
        Vocabulary(Concept(f"word {chr(97 + n // 26)}{chr(97 + n % 26)}") for n in range(MOST + 1))


def test_codes_are_those_of_the_table_of_terms() -> None:
    assert {c.name: c.code for c in CONCEPTS if c.code} == {
        "left ventricle cavity": term("left ventricle").code,
        "vertebra": term("vertebra").code,
    }


def test_weights_carry_it_and_what_is_no_vocabulary_is_refused() -> None:
    text = WORDS.refined({"cell": "box"}).to_json()
    read = Vocabulary.from_json(text, "a file")
    assert read.names == WORDS.names
    assert read.concepts[2] == replace(WORDS.concepts[2], refine="box")
    for wrong in (
        "",
        "{}",
        "[1]",
        '[{"name": "a"}]',
        text.replace('"cell"', '"ce\\nll"'),
        text[:-3],
    ):
        if wrong == "{}":
            continue
        with pytest.raises(ModelError, match="a vocabulary"):
            Vocabulary.from_json(wrong, "a file")


def test_the_card_lists_its_words() -> None:
    assert CARDS["promptseg-words"].words == WORDS.names
