"""Words before they are looked for: what is refused, and what a person is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.predictor import Predictor
from promptseg.models.card import ModelCard
from promptseg.models.cards import CARDS
from promptseg.models.protocol import ClosedWords, KnownWord
from promptseg.prompts import Text
from promptseg.prompts.words import AsWritten
from promptseg.terms.abroad import foreign
from promptseg.terms.words import nearest

__all__ = ["nothing_found", "words_asked", "words_known"]


def words_known(predictor: Predictor) -> dict[str, Any] | None:
    """Return the words that a model is known to take, as plain values for those who suggest them.

    Returns:
        `{"closed", "known": [{"name", "synonyms", "modalities", "code"}]}`: whether others are refused,
        and what is known, of an open vocabulary with names alone; None for a model that takes no words.
    """
    if "text" not in predictor.card.prompts:
        return None
    if not isinstance(predictor.model, ClosedWords):
        return {"closed": False, "known": [{"name": word} for word in predictor.card.words]}
    return {
        "closed": True,
        "known": [
            {
                "name": word.name,
                "synonyms": list(word.synonyms),
                "modalities": list(word.modalities),
                "code": word.code,
            }
            for word in predictor.model.known_words
        ],
    }


def words_asked(
    image: EmbeddedImage, texts: Sequence[Text], force: bool = False, there: Iterable[Text] = ()
) -> tuple[list[Text], list[str]]:
    """Return what a model is asked for, and what is to be said of it: that a word is far from all that
    the model knows, of another modality, or was learnt on another kind of image.

    What a closed vocabulary has not is refused before a slice is encoded. Forced, the nearest word that
    it has is asked for in its place, and that is said.

    Args:
        image: with the model.
        texts: what is asked for at once.
        force: whether an unknown word is no refusal.
        there: by which objects were found that are there already.

    Raises:
        PromptError: an unknown word, two phrases for one, or one for what is there already.
        UnsupportedPromptError: boxes around examples, for a model of words alone.
    """
    model, card, name = image.predictor.model, image.predictor.card, image.image.name
    if not isinstance(model, ClosedWords):
        return list(texts), [*_kind(card, image.image), *_far(card, image.image.modality, texts)]
    asked: list[Text] = []
    notes: list[str] = []
    known = {}
    for text in there:
        if text.words.name:
            known[_word(model, text, force, card.name, [])[1].name] = text.title
    said: dict[str, str] = {}
    for given in texts:
        if given.boxes or given.outside:
            raise UnsupportedPromptError(
                f"words alone for {card.name}",
                f"boxes around examples in {given.to_json()!r}",
                "leave them out, or use sam3",
            )
        phrase = given.phrase.strip()
        text, word = _word(model, given, force, card.name, notes)
        if word.name in said:
            raise PromptError(
                "one phrase for each thing",
                f"{said[word.name]!r} and {phrase!r}, which both mean {word.name}",
                "leave one out",
            )
        if word.name in known:
            raise PromptError(
                "a word for what is not there yet",
                f"{phrase!r}, which means {word.name}, as {known[word.name]!r} does",
                "correct that object, or remove it first",
            )
        said[word.name] = phrase
        asked.append(text)
        modality = image.intensity.modality
        if word.modalities and modality not in ("unknown", *word.modalities):
            notes.append(
                f"{name}: {card.name} was trained to find {word.name!r} in "
                f"{', '.join(word.modalities)}, not in {modality}: what it finds may mean nothing"
            )
    return asked, notes


def _word(
    model: ClosedWords, text: Text, force: bool, name: str, notes: list[str]
) -> tuple[Text, KnownWord]:
    """The word of a vocabulary that a phrase is, by itself or in the words of the table of terms, and
    what is asked for; forced, the nearest one, under the phrase's name.

    The table leaves out numbers and letters that English has not: a phrase with any is itself alone.
    """
    phrase = text.phrase.strip()
    try:
        word = model.word(phrase)
        return AsWritten(phrase, text.boxes, text.outside, text.title, text.axis), word
    except PromptError:
        letters = all(c.isascii() and c.isalpha() for c in phrase if c.isalnum())
        with suppress(PromptError):
            if letters:
                return text, model.word(text.words.name)
        if not force:
            raise
    word = model.nearest_word(text.words.name)
    notes.append(
        f"{text.phrase.strip()!r} is no word that {name} knows: forced, it looks for {word.name!r}, "
        "the nearest, which is something else"
    )
    return AsWritten(word.name, text.boxes, text.outside, text.title, text.axis), word


def nothing_found(name: str, score: float, least: float) -> str:
    """Return the line that says of an object that nothing was found.

    Args:
        name: of the object.
        score: the highest there was.
        least: what has this score or less does not count.
    """
    return f"nothing was found for {name!r} (highest score {score:.2f}, counted above {least:.2f})"


def _kind(card: ModelCard, image: Image) -> Iterator[str]:
    """What is said of weights that were trained on 2D images where this is a volume, or the reverse."""
    names = {"picture": "2D images", "volume": "volumes"}
    if not card.kinds or image.kind in card.kinds or image.kind not in names:
        return
    others = [
        other.name
        for other in CARDS.values()
        if other.family == card.family and image.kind in other.kinds
    ]
    yield (
        f"{card.name} was trained on {' and '.join(names.get(kind, kind) for kind in card.kinds)}, and "
        f"this is {'a volume' if image.kind == 'volume' else 'a 2D image'}: what it finds may mean "
        f"little{f'; trained on {names[image.kind]}: ' + ', '.join(others) if others else ''}"
    )


def _far(card: ModelCard, modality: str, texts: Sequence[Text]) -> Iterator[str]:
    """What is said of phrases that may mean little to a model: one is no English, is far from all that
    the model is known to have been trained on, or was learnt on images of other modalities."""
    for text in texts:
        words = text.words.name
        known, same = nearest(words, card.words) if words and card.words else ("", False)
        if not words:
            continue
        if same:
            seen = dict(card.seen_in).get(known, ())
            if seen and modality not in (*seen, "unknown"):
                yield (
                    f"{card.name} knows {known!r} from {' and '.join(seen)}, and this is {modality}: "
                    "what it finds may mean nothing"
                )
        elif strange := foreign(words):
            yield (
                f"{words!r} is {strange.language or 'not English'}: {card.name} reads English "
                f"(nearest known: {strange.english!r})"
            )
        elif card.words:
            yield (
                f"{words!r} is far from the words that {card.name} is known to have been trained on "
                f"(nearest: {known!r}): what it finds may mean nothing"
            )
        elif text.words.known:
            yield (f"{card.name} was trained on {card.modalities}: {words!r} may mean little to it")
