"""Words before they are looked for: what is refused, and what a person is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.predictor import Predictor
from promptseg.models.card import ModelCard
from promptseg.models.protocol import ClosedWords
from promptseg.prompts import Text
from promptseg.terms.abroad import foreign
from promptseg.terms.words import nearest

__all__ = ["notes_on_words", "nothing_found", "words_known"]


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


def notes_on_words(
    image: EmbeddedImage, texts: Sequence[Text], there: Iterable[Text] = ()
) -> list[str]:
    """Refuse what a closed vocabulary has not, before a slice is encoded; return what is to be said
    of the others: that a word is far from all that the model knows, or of another modality.

    Args:
        image: with the model.
        texts: what is asked for at once.
        there: by which objects were found that are there already.

    Raises:
        PromptError: an unknown word, two phrases for one, or one for what is there already.
        UnsupportedPromptError: boxes around examples, for a model of words alone.
    """
    model, card, name = image.predictor.model, image.predictor.card, image.image.name
    if not isinstance(model, ClosedWords):
        return [*_far(card, image.image.modality, texts)]
    notes: list[str] = []
    known = {model.word(text.words.name).name: text.title for text in there if text.words.name}
    said: dict[str, str] = {}
    for text in texts:
        if text.boxes or text.outside:
            raise UnsupportedPromptError(
                f"words alone for {card.name}",
                f"boxes around examples in {text.to_json()!r}",
                "leave them out, or use sam3",
            )
        phrase, word = text.phrase.strip(), model.word(text.words.name)
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
        modality = image.intensity.modality
        if word.modalities and modality not in ("unknown", *word.modalities):
            notes.append(
                f"{name}: {card.name} was trained to find {word.name!r} in "
                f"{', '.join(word.modalities)}, not in {modality}: what it finds may mean nothing"
            )
    return notes


def nothing_found(name: str, score: float, least: float) -> str:
    """Return the line that says of an object that nothing was found.

    Args:
        name: of the object.
        score: the highest there was.
        least: what has this score or less does not count.
    """
    return f"nothing was found for {name!r} (highest score {score:.2f}, counted above {least:.2f})"


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
