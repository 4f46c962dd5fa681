"""Phrases in other languages are told, with what they mean."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from promptseg.terms.abroad import foreign
from promptseg.terms.words import parts_of


@pytest.mark.parametrize(
    ("phrase", "language", "english"),
    [
        ("Leber", "German", "liver"),
        ("linke Niere", "German", "left kidney"),
        ("Die Gallenblase", "German", "gallbladder"),
        ("Rückenmark", "German", "spinal cord"),
        ("rein droit", "French", "right kidney"),
        ("le cœur", "French", "heart"),
        ("vésicule biliaire", "French", "gallbladder"),
        ("riñón izquierdo", "Spanish", "left kidney"),
        ("hígado", "Spanish", "liver"),
        ("fegato", "Italian", "liver"),
        ("polmone_sinistro", "Italian", "left lung"),
    ],
)
def test_common_names_are_known_in_four_languages(phrase: str, language: str, english: str) -> None:
    assert foreign(phrase) == (language, english)


@pytest.mark.parametrize(
    "phrase", ["liver", "left kidney", "colon", "polyp", "skin lesion", "LV_epi", "the cell 2", ""]
)
def test_english_and_what_may_be_is_left_alone(phrase: str) -> None:
    assert foreign(phrase) is None


def test_letters_alone_tell_of_other_languages() -> None:
    found = foreign("печень")
    assert found is not None
    assert found.language == ""
    assert parts_of(found.english).known
    assert foreign("肝臓") is not None


def test_the_table_names_terms_and_no_word_twice_in_a_language() -> None:
    text = files("promptseg.terms").joinpath("abroad.csv").read_text("utf-8")
    seen: set[tuple[str, str]] = set()
    for row in csv.DictReader(text.splitlines()):
        name = row.pop("name")
        assert parts_of(name).known or name in ("left", "right")
        for language, words in row.items():
            for word in filter(None, words.split(";")):
                assert (language, word) not in seen
                assert word.isascii()  # they are compared without accents
                seen.add((language, word))
