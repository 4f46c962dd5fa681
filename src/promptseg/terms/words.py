"""Parts of a phrase: an organ, something abnormal in one, a side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from promptseg.errors import PromptError
from promptseg.terms import Term, phrase_of, terms

__all__ = ["Words", "nearest", "parts_of", "words_of"]

_SAME = 0.8  # phrases that agree this much count as spellings of each other


@dataclass(frozen=True)
class Words:
    """A phrase, taken apart.

    Attributes:
        given: as the user wrote it.
        structure: the organ, if the table knows it.
        abnormality: what is abnormal, if the table knows it; with `structure`, in that organ.
        side: left or right, if said.
        as_written: whether its name stays as the user wrote it, though the table may know it.
    """

    given: str
    structure: Term | None = None
    abnormality: Term | None = None
    side: Term | None = None
    as_written: bool = False

    @property
    def known(self) -> bool:
        """Tell whether the table knows an organ or an abnormality in the phrase."""
        return self.structure is not None or self.abnormality is not None

    @property
    def term(self) -> Term | None:
        """Return the term whose code stands for it: the abnormality rather than the organ it is in."""
        return self.abnormality or self.structure

    @property
    def name(self) -> str:
        """Return the name in the words of the table, where it knows them; else, or where that is asked
        for, as given, trimmed.
        """
        if self.as_written or not self.known:
            return " ".join(self.given.split())
        parts = (self.side, self.structure, self.abnormality)
        return " ".join(part.name for part in parts if part is not None)


def parts_of(phrase: str) -> Words:
    """Return the parts of a phrase; those that the table does not know are left out.

    A number at the end does not count ("node 2"). Of two sides the first counts; see `words_of`.

    Examples:
        >>> parts_of("Kidney_Left").name, parts_of("tumour in the liver").name
        ('left kidney', 'liver tumor')
    """
    structures, abnormal, sides = terms("structure"), terms("abnormality"), terms("side")
    said = phrase_of(phrase)
    said = said.removeprefix("the ").removeprefix("a ").removeprefix("an ")
    if said in structures:  # the left atrium has no side
        return Words(phrase, structures[said])
    side = next((sides[word] for word in said.split() if word in sides), None)
    rest = phrase_of(" ".join(word for word in said.split() if word not in sides))
    if rest in structures:
        return Words(phrase, structures[rest], None, side)
    for name, concept in abnormal.items():
        if rest == name:
            return Words(phrase, None, concept, side)
        before = rest.removesuffix(f" {name}")
        if before != rest:
            return Words(phrase, structures.get(before), concept, side)
        for between in (" of the ", " in the ", " of ", " in "):
            if rest.startswith(name + between):
                place = phrase_of(rest.removeprefix(name + between))
                if place in structures:
                    return Words(phrase, structures[place], concept, side)
    return Words(phrase, side=side)


def words_of(phrase: str) -> Words:
    """Check a phrase that something is to be looked for by, and return its parts.

    Raises:
        PromptError: an empty phrase, or one of both sides.
    """
    if not any(letter.isalnum() for letter in phrase):
        raise PromptError("a phrase, such as liver", repr(phrase), "say what to look for")
    said = set(phrase_of(phrase).split()) & set(terms("side"))
    if len(said) > 1 and parts_of(phrase).side is not None:
        raise PromptError(
            "one side", f"{' and '.join(sorted(said))} in {phrase!r}", "ask for each by itself"
        )
    return parts_of(phrase)


def nearest(phrase: str, known: Iterable[str]) -> tuple[str, bool]:
    """Return the known phrase that is most like another one.

    Args:
        phrase: any words.
        known: what to compare with; at least one.

    Returns:
        The phrase, and whether they are spellings of the same.
    """
    asked = parts_of(phrase).name.lower()

    def likeness(other: str) -> float:
        return SequenceMatcher(None, asked, parts_of(other).name.lower()).ratio()

    best = max(known, key=likeness)
    return best, likeness(best) >= _SAME
