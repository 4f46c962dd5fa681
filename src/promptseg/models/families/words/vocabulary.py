"""The words a model knows: what each is called, in which images, and what is none of them.

A phrase is a known word or it is refused: names and synonyms, in singular or plural, in other orders
("head of the fetus"), with a typing error in a long word, or by the SNOMED CT code of the table of
terms. A phrase with one more word is another thing ("fetal heart", "cell membrane").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from promptseg.errors import ModelError, PromptError
from promptseg.terms import terms

__all__ = ["MOST", "Concept", "Vocabulary"]

MOST = 64
"""Words that a model has room for."""

_LONGEST = 100  # characters of a name
_SHORT = 6  # letters up to which a word is no spelling of another
_ARTICLES = {"a", "an", "the", "true", "whole", "of", "in"}
_SPELLINGS = {"foetal": "fetal", "foetus": "fetus", "tumour": "tumor", "oedema": "edema"}
_ADJECTIVES = {"fetus": "fetal", "ventricular": "ventricle", "glottic": "glottal"}
_PLURALS = {
    "nuclei": "nucleus",
    "vertebrae": "vertebra",
    "cavities": "cavity",
    "bodies": "body",
    "arteries": "artery",
}


@dataclass(frozen=True)
class Concept:
    """One word.

    Attributes:
        name: what it is called.
        modalities: of images that it was trained on.
        synonyms: other words for it.
        code: of SNOMED CT, where the table of terms has one.
        instances: whether there are often several of it, which are told apart.
        refine: what the base is asked with after the coarse mask: "none", "box" or "box+mask".
    """

    name: str
    modalities: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    code: str = ""
    instances: bool = False
    refine: str = "none"


class Vocabulary:
    """Words in the order in which a network has them.

    Args:
        concepts: at most `MOST`.

    Raises:
        ModelError: two for one phrase, or too many.

    Example:
        >>> words = Vocabulary([Concept("nucleus", synonyms=("cell nucleus",))])
        >>> words.look_up("nuclei of the cells").name
        'nucleus'
    """

    def __init__(self, concepts: Iterable[Concept]) -> None:
        self.concepts = tuple(concepts)
        if len(self.concepts) > MOST:
            raise ModelError(f"at most {MOST} words", str(len(self.concepts)), "leave some out")
        phrases = [key for concept in self.concepts for key in {*_keys(concept)}]
        twice = sorted(key for key in {*phrases} if phrases.count(key) > 1)
        if twice:
            raise ModelError("one word for each thing", f"two for {twice[0]!r}", "rename one")

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the words, in their order."""
        return tuple(concept.name for concept in self.concepts)

    @cached_property
    def _by_key(self) -> dict[str, Concept]:
        return {key: concept for concept in self.concepts for key in _keys(concept)}

    def index(self, concept: Concept) -> int:
        """Return the row that a word has in the network."""
        return self.concepts.index(concept)

    def known(self, phrase: str) -> Concept | None:
        """Find the word that a phrase names by its name, a synonym or a code; None if there is none."""
        key = _key(phrase)
        if key in self._by_key:
            return self._by_key[key]
        digits = phrase.strip()
        by_code = [c for c in self.concepts if c.code and c.code == digits]
        if by_code:
            return by_code[0]
        alike = {c.name: c for k, c in self._by_key.items() if _is_misspelt(key, k)}
        return next(iter(alike.values())) if len(alike) == 1 else None

    def look_up(self, phrase: str) -> Concept:
        """Find the word that a phrase names, or refuse the phrase.

        Raises:
            PromptError: an empty phrase, or none that is known; the nearest one is offered.
        """
        if not any(letter.isalnum() for letter in phrase):
            raise PromptError("a phrase", repr(phrase), f"say one of {', '.join(self.names)}")
        found = self.known(phrase)
        if found is None:
            raise PromptError(
                f"a word that the model knows: {', '.join(self.names)}",
                repr(phrase),
                f"the nearest is {self.nearest(phrase)!r}; sam3 takes any words, and promptseg train "
                "words teaches new ones",
            )
        return found

    def nearest(self, phrase: str) -> str:
        """Return the name of the word that is most like a phrase."""
        key = _key(phrase)
        long = [k for k in self._by_key if len(k) >= _SHORT - 2] or [*self._by_key]
        best = max(long, key=lambda k: SequenceMatcher(None, key, k).ratio())
        return self._by_key[best].name

    def to_json(self) -> str:
        """Return the vocabulary as JSON, which is kept with the weights."""
        return json.dumps([asdict(concept) for concept in self.concepts])

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Vocabulary:
        """Read what `to_json` wrote, in a file that is not trusted.

        Raises:
            ModelError: anything else.
        """
        try:
            rows = json.loads(text)
            concepts = [_concept(row) for row in rows]
        except (ValueError, TypeError, KeyError):
            raise ModelError(
                "a vocabulary", f"{where} with something else", "get it again"
            ) from None
        return cls(concepts)

    def with_more(self, concepts: Iterable[Concept]) -> Vocabulary:
        """Return a vocabulary of these words, then others."""
        return Vocabulary((*self.concepts, *concepts))

    def refined(self, how: Mapping[str, str]) -> Vocabulary:
        """Return the same words, some refined in another way: names of words to ways."""
        return Vocabulary(replace(c, refine=how.get(c.name, c.refine)) for c in self.concepts)


def _concept(row: Mapping[str, Any]) -> Concept:
    if set(row) != {f.name for f in fields(Concept)}:
        raise KeyError("fields")
    texts = [row["name"], row["code"], row["refine"], *row["modalities"], *row["synonyms"]]
    if not all(isinstance(t, str) and len(t) <= _LONGEST and (t.isprintable()) for t in texts):
        raise TypeError("texts")
    if not row["name"] or not isinstance(row["instances"], bool):
        raise TypeError("name")
    return Concept(
        **{**row, "modalities": tuple(row["modalities"]), "synonyms": tuple(row["synonyms"])}
    )


def _keys(concept: Concept) -> list[str]:
    """All that it is known by: its words in alphabetical order."""
    structure = terms("structure").values()
    others = [
        w
        for t in structure
        if concept.code and t.code == concept.code
        for w in (t.name, *t.synonyms)
    ]
    return [_key(word) for word in (concept.name, *concept.synonyms, *others)]


def _key(phrase: str) -> str:
    """The words of a phrase, each in one spelling and in the singular, in alphabetical order."""
    words = [w for w in re.split(r"[^a-z]+", phrase.lower()) if w]
    plain = (_plain(word) for word in words if word not in _ARTICLES)
    return " ".join(sorted(plain))


def _plain(word: str) -> str:
    word = _SPELLINGS.get(word, word)
    if word in _PLURALS:
        return _PLURALS[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _ADJECTIVES.get(word, word)


def _is_misspelt(key: str, known: str) -> bool:
    """Whether words differ by one letter in a long one, and in nothing else.

    Two letters may differ where a word has ten or more.
    """
    ours, theirs = sorted(key.split()), sorted(known.split())
    if len(ours) != len(theirs):
        return False
    left = [w for w in ours if w not in theirs]
    right = [w for w in theirs if w not in ours]
    if len(left) != 1 or len(right) != 1:
        return False
    one, other = left[0], right[0]
    allowed = 2 if len(other) >= 10 else 1 if len(other) >= _SHORT or len(theirs) > 1 else 0
    return len(other) > 4 and _distance(one, other) <= allowed


def _distance(one: str, other: str) -> int:
    """Letters to be put in, left out or changed between two words."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
