"""The table of terms against DICOM's own dictionary of SNOMED CT concepts, as pydicom ships it."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pydicom.sr.codedict import codes

from promptseg.terms import Kind, phrase_of, term, terms

ALL = {name: one for kind in get_args(Kind) for name, one in terms(kind).items()}


@pytest.mark.parametrize("name", ALL)
def test_codes_are_those_of_the_standard(name: str) -> None:
    meaning = ALL[name].meaning
    keyword = "".join(w[0].upper() + w[1:] for w in re.findall(r"\w+", meaning))
    known = getattr(codes.SCT, keyword)
    assert (known.value, known.scheme_designator) == (ALL[name].code, "SCT")


def test_no_word_stands_for_two_terms() -> None:
    words = [word for one in ALL.values() for word in (one.name, *one.synonyms)]
    assert len(words) == len(set(words))
    assert all(word == word.lower() for word in words)


def test_every_word_leads_to_its_term() -> None:
    for name, one in ALL.items():
        for word in (name, *one.synonyms):
            assert phrase_of(word) == name
    assert phrase_of("Left_Kidneys 2") == "left kidney"
    assert phrase_of("Milz") == "milz"
    with pytest.raises(KeyError):
        term("milz")
