"""Phrases are taken apart: organ, what is abnormal in it, side."""

from __future__ import annotations

import pytest

from promptseg.errors import PromptError
from promptseg.terms.words import nearest, parts_of, words_of


@pytest.mark.parametrize(
    ("phrase", "name", "structure", "abnormality", "side"),
    [
        ("liver", "liver", "10200004", None, None),
        ("Kidney_Left", "left kidney", "64033007", None, "7771000"),
        ("the left atrium", "left atrium", "82471001", None, None),
        ("lesion of the liver 2", "liver lesion", "10200004", "52988006", None),
        ("Liver tumour", "liver tumor", "10200004", "108369006", None),
        ("right lung nodule", "right lung nodule", "39607008", "27925004", "24028007"),
        ("tumor in the urinary bladder", "bladder tumor", "89837001", "108369006", None),
        ("oedema", "edema", None, "79654002", None),
        ("Leber", "Leber", None, None, None),
        ("left  widget", "left widget", None, None, "7771000"),
    ],
)
def test_parts(
    phrase: str, name: str, structure: str | None, abnormality: str | None, side: str | None
) -> None:
    words = words_of(phrase)
    assert words.name == name
    codes = [
        part.code if part else None for part in (words.structure, words.abnormality, words.side)
    ]
    assert codes == [structure, abnormality, side]
    assert (words.term is None) == (structure is None and abnormality is None)


@pytest.mark.parametrize("phrase", ["", "  ", "?!"])
def test_an_empty_phrase_is_refused(phrase: str) -> None:
    with pytest.raises(PromptError, match="a phrase, such as liver"):
        words_of(phrase)


def test_contradictory_sides_are_refused() -> None:
    with pytest.raises(PromptError, match="one side, got left and right in 'left right kidney'"):
        words_of("left right kidney")
    assert parts_of("left right kidney").side is not None  # a name may say anything


def test_the_nearest_known_phrase_is_found() -> None:
    known = ["retinal blood vessel", "polyp", "skin lesion"]
    assert nearest("Polyps", known) == ("polyp", True)
    assert nearest("lesion of the skin", known) == ("skin lesion", True)
    assert nearest("Leber", known)[1] is False
