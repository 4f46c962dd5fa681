"""Names of objects -> the coded concepts that DICOM wants: what it is, where, on which side.

The codes come from `promptseg.terms`. A name that is not known is called tissue, which claims the
least, as 3D Slicer does; its own words stay in the label.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptseg.terms import Term, term, with_code
from promptseg.terms.words import parts_of

__all__ = ["Meaning", "meaning_of"]


@dataclass(frozen=True)
class Meaning:
    """The coded meaning of an object.

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


def meaning_of(name: str, code: str = "") -> Meaning:
    """Find the coded meaning of an object's name (see `promptseg.terms.words`); tissue if not known.

    Args:
        name: of the object.
        code: of SNOMED CT, of the words that it was found by; it counts where the name says nothing.
    """
    words = parts_of(name)
    if words.abnormality is not None:
        category = term("morphologically abnormal structure")
        return Meaning(category, words.abnormality, words.side, words.structure)
    if words.structure is not None:
        return Meaning(term("anatomical structure"), words.structure, words.side)
    found = with_code(code)
    if found is not None and found.kind == "abnormality":
        return Meaning(term("morphologically abnormal structure"), found, words.side)
    if found is not None and found.kind == "structure":
        return Meaning(term("anatomical structure"), found, words.side)
    tissue = term("tissue")
    return Meaning(tissue, tissue, words.side)
