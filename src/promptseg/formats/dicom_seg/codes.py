"""Names of objects -> the coded concepts that DICOM wants: what it is, where, on which side.

The codes come from `promptseg.terms`. A name that is not known is called tissue, which claims the
least, as 3D Slicer does; its own words stay in the label.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptseg.terms import Term, phrase_of, term, terms

__all__ = ["Meaning", "meaning_of"]


@dataclass(frozen=True)
class Meaning:
    """What an object is.

    Attributes:
        category: the kind of thing it is.
        type: what it is.
        side: left or right, if the name says so.
        region: the organ an abnormality lies in, if the name says so.
    """

    category: Term
    type: Term
    side: Term | None = None
    region: Term | None = None


def meaning_of(name: str) -> Meaning:
    """What the name of an object says; tissue if it is not known.

    A number at the end does not count ("node 2"), "left" and "right" name a side, and before an
    abnormality an organ names the place of it ("liver lesion").
    """
    structures, sides = terms("structure"), terms("side")
    anatomy, abnormal = term("anatomical structure"), term("morphologically abnormal structure")
    phrase = phrase_of(name)
    if phrase in structures:  # the left atrium has no side
        return Meaning(anatomy, structures[phrase])
    side = next((sides[word] for word in phrase.split() if word in sides), None)
    phrase = " ".join(word for word in phrase.split() if word not in sides)
    if phrase in structures:
        return Meaning(anatomy, structures[phrase], side)
    for abnormality, concept in terms("abnormality").items():
        if phrase == abnormality:
            return Meaning(abnormal, concept, side)
        if phrase.endswith(f" {abnormality}"):
            place = structures.get(phrase.removesuffix(f" {abnormality}"))
            return Meaning(abnormal, concept, side, place)
    tissue = term("tissue")
    return Meaning(tissue, tissue, side)
