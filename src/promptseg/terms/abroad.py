"""Names of anatomy in other languages than the one that models read."""

from __future__ import annotations

import csv
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from promptseg.terms import terms
from promptseg.terms.words import nearest, parts_of

__all__ = ["Foreign", "foreign"]

_SMALL = frozenset(  # articles and the like
    (
        *("der", "die", "das", "den", "dem", "des", "im", "in", "ein", "eine"),
        *("le", "la", "les", "l", "un", "une", "du", "de", "d"),
        *(
            "el",
            "los",
            "las",
            "del",
            "en",
            "il",
            "lo",
            "i",
            "gli",
            "della",
            "dello",
            "nella",
            "nel",
        ),
    )
)


class Foreign(NamedTuple):
    """The meaning of a phrase in another language.

    Attributes:
        language: by its English name; empty where the letters alone say that it is another one.
        english: the phrase, or the one of the table of terms that is most like it.
    """

    language: str
    english: str


def foreign(phrase: str) -> Foreign | None:
    """Return the meaning of a phrase in another language than English; None for English.

    German, French, Spanish and Italian names of the common organs are known (`abroad.csv`), with sides;
    of other phrases only letters that English does not have tell.

    Args:
        phrase: any words; those that the table of terms knows are English.

    Returns:
        None for what may be English.

    Examples:
        >>> foreign("linke Niere"), foreign("left kidney")
        (Foreign(language='German', english='left kidney'), None)
    """
    if parts_of(phrase).known:
        return None
    said = _folded(phrase)
    for language, words in _table().items():
        if english := _translated(said, words):
            return Foreign(language, english)
    if any(letter.isalpha() and not letter.isascii() for letter in phrase):
        best, _ = nearest(" ".join(said), (*terms("structure"), *terms("abnormality")))
        return Foreign("", best)
    return None


def _translated(said: list[str], words: dict[str, str]) -> str:
    """The phrase in English, where every word of it is known."""
    sides = terms("side")
    side = [words[word] for word in said if words.get(word) in sides]
    rest = " ".join(word for word in said if words.get(word) not in sides)
    if len(side) > 1 or rest not in words:
        return ""
    return " ".join([*side, words[rest]])


@cache
def _table() -> dict[str, dict[str, str]]:
    """Language -> word or words, without accents -> name in the table of terms."""
    text = files(__package__).joinpath("abroad.csv").read_text("utf-8")
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(text.splitlines()):
        name = row.pop("name")
        for language, words in row.items():
            found.setdefault(language, {}).update(
                dict.fromkeys(filter(None, words.split(";")), name)
            )
    return found


def _folded(phrase: str) -> list[str]:
    """Words in small letters without accents and articles."""
    plain = unicodedata.normalize("NFKD", phrase.lower().replace("ß", "ss").replace("œ", "oe"))
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [word for word in re.findall(r"\w+", bare.replace("_", " ")) if word not in _SMALL]
