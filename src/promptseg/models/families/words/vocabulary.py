"""The words a model knows: what each is called, in which images, and what is none of them.

A phrase is a known word or it is refused: names and synonyms, in singular or plural, in other orders
("head of the fetus"), with a typing error in a long word, or by the SNOMED CT code of the table of
terms. A phrase with one more word is another thing ("fetal heart", "cell membrane"), and so is one with
another number ("liver segment 4", "liver segment 8"). Words of any script count; a typing error is
looked for in Latin letters without accents alone, and never is another word of anatomy one.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, fields, replace
from difflib import SequenceMatcher
from functools import cache, cached_property
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
_ALIKE = frozenset(
    (
        *("abductor", "adductor", "epicardium", "pericardium", "endocardium", "myocardium"),
        *("metacarpal", "metatarsal", "peroneal", "perineal", "perineum", "peritoneum"),
        *("ileum", "ilium", "ureter", "urethra", "humerus", "humeral", "femoral", "temporal"),
        *("maximus", "minimus", "medius", "medial", "median", "lateral", "ischium", "ischemia"),
        *("lymphoma", "lipoma", "adenoma", "hematoma", "angioma", "myeloma", "glioma", "myoma"),
        *("thymus", "thalamus", "hypothalamus", "epithalamus", "subthalamus", "tarsal", "carpal"),
        *("nucleus", "nucleolus", "ventricle", "vestibule", "arteriole", "venule", "papilla"),
        *("maxilla", "axilla", "patella", "capsule", "scapular", "prostatic", "parietal"),
    )
)
"""Words of anatomy that are a few letters from others, beside those of the table of terms."""


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
        own = _real_words() | {word for k in self._by_key for word in k.split()}
        alike = {c.name: c for k, c in self._by_key.items() if _is_misspelt(key, k, own)}
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
    """The words of a phrase, each in one spelling and in the singular, in alphabetical order; a number
    belongs to the word before it, so that "segment 1, zone 2" is not "segment 2, zone 1".
    """
    words = _words(phrase)
    plain: list[str] = []
    for word in [w for w in words if w not in _ARTICLES] or words:
        if word.isdigit() and plain:
            plain[-1] += word
        else:
            plain.append(_plain(word))
    return " ".join(sorted(plain))


def _words(phrase: str) -> list[str]:
    """Runs of letters, digits and the marks that belong to letters, in any script, in small letters."""
    text = unicodedata.normalize("NFKC", phrase.casefold())
    inside = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
    return "".join(inside).split()


@cache
def _real_words() -> frozenset[str]:
    """The words of the table of terms, and others that are no misspelling of any."""
    table = (*terms("structure").values(), *terms("abnormality").values(), *terms("side").values())
    names = (name for term in table for name in (term.name, *term.synonyms))
    return frozenset(word for name in (*names, *_ALIKE) for word in _key(name).split())


def _plain(word: str) -> str:
    word = _SPELLINGS.get(word, word)
    if word in _PLURALS:
        return _PLURALS[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _ADJECTIVES.get(word, word)


def _is_misspelt(key: str, known: str, real: Set[str]) -> bool:
    """Whether words differ by one letter in a long one, and in nothing else.

    Two letters may differ where a word has ten or more. The first letter and numbers are the same; what
    is a real word, or is nearer to another one, is no misspelling.
    """
    ours, theirs = sorted(key.split()), sorted(known.split())
    if len(ours) != len(theirs):
        return False
    left = [w for w in ours if w not in theirs]
    right = [w for w in theirs if w not in ours]
    if len(left) != 1 or len(right) != 1:
        return False
    one, other = left[0], right[0]
    if one in real or not (one + other).isascii() or one[0] != other[0]:
        return False
    if _digits(one) != _digits(other):
        return False
    allowed = 2 if len(other) >= 10 else 1 if len(other) >= _SHORT or len(theirs) > 1 else 0
    wrong = _distance(one, other)
    if len(other) <= 4 or wrong > allowed:
        return False
    return all(_distance(one, word) >= wrong for word in real)


def _digits(word: str) -> str:
    return "".join(c for c in word if c.isdigit())


def _distance(one: str, other: str) -> int:
    """Letters to be put in, left out or changed between two words."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
