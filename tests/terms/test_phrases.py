"""Phrases for a name, and names that may mean the same."""

from __future__ import annotations

import pytest

from promptseg.terms.phrases import may_be_the_same, phrases_for


@pytest.mark.parametrize(
    ("name", "first", "others"),
    [
        ("Kidney_Left", "left kidney", {"kidney, left", "kidney left"}),
        ("tumour in the liver", "liver tumor", {"tumor of the liver", "liver tumour"}),
        ("urinary_bladder", "bladder", {"urinary bladder"}),
        ("LV epi", "lv epi", set()),
    ],
)
def test_the_words_of_the_table_come_first_and_others_follow(
    name: str, first: str, others: set[str]
) -> None:
    found = phrases_for(name)
    assert found[0] == first
    assert others <= set(found)
    assert len(set(found)) == len(found)
    assert all(phrase.strip() for phrase in found)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("kidney", "left kidney", True),
        ("right kidney", "left kidney", False),
        ("liver", "liver tumor", False),
        ("Liver", "liver", True),
        ("polyp", "Polyp", True),
        ("polyp", "cell", False),
    ],
)
def test_what_may_be_the_same(one: str, other: str, same: bool) -> None:
    assert may_be_the_same(one, other) is may_be_the_same(other, one) is same
