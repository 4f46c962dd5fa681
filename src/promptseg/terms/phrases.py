"""Several phrases for the same thing, as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from promptseg.terms import Term, phrase_of, terms
from promptseg.terms.words import Words, parts_of

__all__ = ["class_word", "may_be_the_same", "phrases_for"]

_MOST = 12


def class_word(name: str) -> str:
    """Return the name of a class as a dataset writes it, without what it says in brackets or after a
    comma; a side that it says there comes first.

    Examples:
        >>> class_word("soft-tissue sarcoma (GTV mass)"), class_word("lumbar vertebra, level 3")
        ('soft-tissue sarcoma', 'lumbar vertebra')
        >>> class_word("lung, left")
        'left lung'
    """
    first, *more = re.split(r"[(,]", name)
    if not (first := first.strip()):
        return name
    said, after = (set(phrase_of(text).split()) for text in (first, " ".join(more)))
    sides = [side for side in terms("side") if side in after and not said & set(terms("side"))]
    return f"{sides[0]} {first}" if len(sides) == 1 else first


def phrases_for(name: str) -> tuple[str, ...]:
    """Return the phrases that a class may be asked for by.

    Args:
        name: of a class, in any spelling.

    Returns:
        The phrase in the words of the table first; then synonyms, other orders of the words, and the
        name as it is written, but for its underscores.

    Examples:
        >>> phrases_for("Kidney_Left")[:2], phrases_for("LV_epi")
        (('left kidney', 'kidney, left'), ('lv epi',))
    """
    words = parts_of(name)
    written = " ".join(name.replace("_", " ").lower().split())
    if not words.known:
        return (written,)
    return tuple(dict.fromkeys((words.name, *_others(words), written)))[:_MOST]


def may_be_the_same(one: str, other: str) -> bool:
    """Tell whether a name may be meant by another: the same thing, and no other side of the body.

    Examples:
        >>> may_be_the_same("kidney", "left kidney"), may_be_the_same("right kidney", "left kidney")
        (True, False)
    """
    a, b = parts_of(one), parts_of(other)
    if not (a.known and b.known):
        return phrases_for(one)[0] == phrases_for(other)[0]
    same = (a.structure, a.abnormality) == (b.structure, b.abnormality)
    return same and (a.side is None or b.side is None or a.side == b.side)


def _others(words: Words) -> Iterator[str]:
    """Synonyms of the parts, and other orders of them."""
    side = words.side.name if words.side else ""
    for abnormality in _names(words.abnormality):
        for structure in _names(words.structure):
            thing = f"{side} {structure}".strip()
            if not abnormality:
                yield thing
                if side:
                    yield f"{structure}, {side}"
            elif not structure:
                yield f"{side} {abnormality}".strip()
            else:
                yield f"{thing} {abnormality}"
                yield f"{abnormality} in the {thing}"
                yield f"{abnormality} of the {thing}"


def _names(term: Term | None) -> tuple[str, ...]:
    return (term.name, *term.synonyms) if term else ("",)
