"""Names of anatomy and of what is abnormal in it, with other words for them and their codes.

The table `terms.csv` serves formats, which write codes, and models that take words. Codes are those of
SNOMED CT, as DICOM part 16 lists them.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

__all__ = ["Kind", "Term", "phrase_of", "term", "terms", "with_code"]

Kind = Literal["structure", "abnormality", "side", "category"]


@dataclass(frozen=True)
class Term:
    """One row of the table.

    Attributes:
        name: in English, small letters.
        kind: an anatomical structure, an abnormality, a side, or a category of things.
        code: of SNOMED CT.
        meaning: as DICOM part 16 writes it.
        synonyms: other words for it, spellings and plurals among them.
    """

    name: str
    kind: Kind
    code: str
    meaning: str
    synonyms: tuple[str, ...] = ()


@cache
def _table() -> dict[str, Term]:
    text = files(__package__).joinpath("terms.csv").read_text("utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        others = tuple(word for word in row["synonyms"].split(";") if word)
        kind = cast(Kind, row["kind"])
        found[row["name"]] = Term(row["name"], kind, row["code"], row["meaning"], others)
    return found


@cache
def _other_words() -> dict[str, str]:
    return {word: known.name for known in _table().values() for word in known.synonyms}


def terms(kind: Kind) -> dict[str, Term]:
    """Return the terms of one kind by name, in the order of the table."""
    return {name: known for name, known in _table().items() if known.kind == kind}


def term(name: str) -> Term:
    """Return the term of this very name.

    Raises:
        KeyError: there is none.
    """
    return _table()[name]


def with_code(code: str) -> Term | None:
    """Find the term that has a code; None if the table has no such code.

    Examples:
        >>> with_code("10200004").name
        'liver'
    """
    return next((term for term in _table().values() if code and term.code == code), None)


def phrase_of(name: str) -> str:
    """Return the phrase for an object, in the words of the table: small letters, no numbers or marks.

    Examples:
        >>> phrase_of("Left_Kidneys 2"), phrase_of("urinary bladder"), phrase_of("Tumour")
        ('left kidney', 'bladder', 'tumor')
    """
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word]
    phrase = " ".join(_other_words().get(word, word) for word in words)
    return _other_words().get(phrase, phrase)
