"""Objects by words: every slice is looked at, what is found is linked through slices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.image import FoundByWords, Segment
from promptseg.inference.embedded import Visit
from promptseg.models.cards import CARDS
from promptseg.models.protocol import (
    ClosedWords,
    Findings,
    KnownWord,
    Phrase,
    Remembering,
    SliceMasks,
)
from promptseg.prompts import Text
from promptseg.segment.assemble import segment_of
from promptseg.segment.joining import joined
from promptseg.segment.linking import Track, linked, without_duplicates
from promptseg.segment.run import Run
from promptseg.terms.abroad import foreign
from promptseg.terms.words import nearest

__all__ = ["found_by_words", "phrase_for"]

log = logging.getLogger("promptseg")

_GAP = 2  # slices of a volume on which an object may be missed


def found_by_words(run: Run) -> list[Segment]:
    """Find what the phrases of a run name: all instances of one together as an object, or each by
    itself.

    Each slice is encoded once, whatever the number of phrases. Where an object lies need not be known:
    it begins where it is first found and ends where it is found no more. Nothing found is an empty
    object, never a guess. Where another model starts the objects that one is asked, and the memory of
    the run's own joins what it finds.
    """
    visit = run.visit if run.starting is None else run.starting.visit(run.visit.on_encoded)
    given = [(n, text) for n, entry in enumerate(run.objects) for text in entry.texts]
    known = _known_words(run, visit, [text for _, text in given])
    asked = [(n, text) for (n, _), text in zip(given, known, strict=True)]
    seen: list[dict[int, Findings]] = [{} for _ in asked]
    first, last = run.limits
    for index in range(first, last + 1):
        phrases = [phrase_for(text, index) for _, text in asked]
        told = [n for n, phrase in enumerate(phrases) if phrase is not None]
        if not told:
            continue
        run.at_work = ", ".join(dict.fromkeys(run.objects[asked[n][0]].name for n in told))
        found = visit.predictor.find(
            visit.embedding(index, last),
            [phrase for phrase in phrases if phrase is not None],
            run.options.min_score,
        )
        for n, findings in zip(told, found, strict=True):
            seen[n][index] = findings
    segments: list[Segment] = []
    for number, entry in enumerate(run.objects):
        own = [(text, seen[n]) for n, (of, text) in enumerate(asked) if of == number]
        for name, tracks in _objects(run, entry.name, [findings for _, findings in own]):
            segments.append(_segment(run, name, len(segments) + 1, tracks, own))
    return segments


def phrase_for(text: Text, index: int) -> Phrase | None:
    """Return the phrase to look for on a slice; None where there are neither words nor an example on
    it.
    """
    inside, outside = text.on_slice(index)
    words = text.words.name
    return Phrase(words, inside, outside) if words or inside else None


def _objects(
    run: Run, name: str, seen: Sequence[dict[int, Findings]]
) -> list[tuple[str, list[Track]]]:
    """Names, and what is to be under them; at least one, which may be of nothing."""
    options = run.options
    slices = {
        index: without_duplicates(
            (one for findings in seen if index in findings for one in findings[index].instances),
            options.max_overlap,
        )
        for index in sorted({index for findings in seen for index in findings})
    }
    video = run.visit.embedded.image.kind == "video"
    tracks = linked(slices, options.min_iou, _GAP, fill=not video)
    model = run.visit.predictor.model
    if run.starting is not None and isinstance(model, Remembering):
        tracks = joined(tracks, model, run.visit, options.min_iou, returns=video)
    if not options.instances or len(tracks) < 2:
        return [(name, tracks)]
    return [(f"{name} {n}", [track]) for n, track in enumerate(tracks, 1)]


def _segment(
    run: Run,
    name: str,
    label: int,
    tracks: list[Track],
    asked: Sequence[tuple[Text, dict[int, Findings]]],
) -> Segment:
    """The union of some tracks as one object."""
    image, axis = run.visit.embedded.image, run.axis
    masks: dict[int, NDArray[np.bool_]] = {}
    for track in tracks:
        for index, mask in track.masks.items():
            masks[index] = masks[index] | mask if index in masks else mask
    if not masks:
        masks = {run.limits[0]: np.zeros(image.geometry.slice_shape(axis), dtype=bool)}
    segment = segment_of(name, label, SliceMasks(masks), image, run.options)
    segment.words = _found_by(tracks, asked)
    if segment.is_empty:
        best = segment.words.score
        log.warning(
            "%s: nothing was found for %r (highest score %.2f, counted above %.2f)",
            image.name,
            name,
            best,
            run.options.min_score,
        )
    return segment


def _found_by(
    tracks: list[Track], asked: Sequence[tuple[Text, dict[int, Findings]]]
) -> FoundByWords:
    indices = sorted({index for _, findings in asked for index in findings})
    there = [[f[k] for _, f in asked if k in f] for k in indices]
    scores = {k: max(f.best for f in each) for k, each in zip(indices, there, strict=True)}
    presence = {
        k: max(known)
        for k, each in zip(indices, there, strict=True)
        if (known := [f.presence for f in each if f.presence is not None])
    }
    own = [score for track in tracks for score in track.scores.values()]
    term = next((text.words.term for text, _ in asked if text.words.term), None)
    return FoundByWords(
        "; ".join(dict.fromkeys(text.words.name or text.to_json() for text, _ in asked)),
        float(np.mean(own)) if own else max(scores.values(), default=0.0),
        scores,
        presence,
        term.code if term else "",
        term.meaning if term else "",
    )


def _known_words(run: Run, visit: Visit, texts: Sequence[Text]) -> list[Text]:
    """Return what the model is asked; it refuses what its closed vocabulary has not, before any work.

    Forced, it is asked for the nearest word that it has, and that is said. Of words far from what an
    open vocabulary was trained on the run warns.

    Raises:
        PromptError: an unknown word, or two phrases for one.
        UnsupportedPromptError: boxes around examples, for a model of words alone.
    """
    card, model, image = visit.predictor.card, visit.predictor.model, visit.embedded.image
    if not isinstance(model, ClosedWords):
        _warn_of_far(visit, texts)
        return list(texts)
    said: dict[str, str] = {}
    found = []
    for text in texts:
        if text.boxes or text.outside:
            raise UnsupportedPromptError(
                f"words alone for {card.name}",
                f"boxes around examples in {text.to_json()!r}",
                "leave them out, or use sam3",
            )
        phrase = text.phrase.strip()
        text, word = _known(model, text, run.options.force, card.name)
        if word.name in said:
            raise PromptError(
                "one phrase for each thing",
                f"{said[word.name]!r} and {phrase!r}, which both mean {word.name}",
                "leave one out",
            )
        said[word.name] = phrase
        found.append(text)
        modality = visit.embedded.intensity.modality
        if word.modalities and modality != "unknown" and modality not in word.modalities:
            log.warning(
                "%s: %s was trained to find %r in %s, not in %s: what it finds may mean nothing",
                image.name,
                card.name,
                word.name,
                ", ".join(word.modalities),
                modality,
            )
    return found


def _known(model: ClosedWords, text: Text, forced: bool, name: str) -> tuple[Text, KnownWord]:
    """The word of a vocabulary that a phrase is; forced, the nearest one, under the phrase's name."""
    try:
        return text, model.word(text.words.name)
    except PromptError:
        if not forced:
            raise
    word = model.nearest_word(text.words.name)
    log.warning(
        "%r is no word that %s knows: forced, it looks for %r, the nearest, which is something else",
        text.phrase.strip(),
        name,
        word.name,
    )
    return replace(text, phrase=word.name, name=text.title), word


def _warn_of_far(visit: Visit, texts: Sequence[Text]) -> None:
    """Say of a phrase that it may mean little to the model: it is no English, far from all that the
    model is known to have been trained on, or was learnt on images of other modalities."""
    card, modality = visit.predictor.card, visit.embedded.image.modality
    _warn_of_kind(visit)
    for text in texts:
        words = text.words.name
        known, same = nearest(words, card.words) if words and card.words else ("", False)
        if not words:
            continue
        if same:
            seen = dict(card.seen_in).get(known, ())
            if seen and modality not in (*seen, "unknown"):
                log.warning(
                    "%s knows %r from %s, and this is %s: what it finds may mean nothing",
                    card.name,
                    known,
                    " and ".join(seen),
                    modality,
                )
        elif strange := foreign(words):
            language = strange.language or "not English"
            log.warning(
                "%r is %s: %s reads English (nearest known: %r)",
                words,
                language,
                card.name,
                strange.english,
            )
        elif card.words:
            log.warning(
                "%r is far from the words that %s is known to have been trained on (nearest: %r): what "
                "it finds may mean nothing",
                words,
                card.name,
                known,
            )
        elif text.words.known:
            log.warning(
                "%s was trained on %s: %r may mean little to it", card.name, card.modalities, words
            )


def _warn_of_kind(visit: Visit) -> None:
    """Say that weights were trained on 2D images and this is a volume, or the reverse."""
    card, image = visit.predictor.card, visit.embedded.image
    names = {"picture": "2D images", "volume": "volumes"}
    if not card.kinds or image.kind in card.kinds or image.kind not in names:
        return
    others = [
        other.name
        for other in CARDS.values()
        if other.family == card.family and image.kind in other.kinds
    ]
    log.warning(
        "%s was trained on %s, and this is %s: what it finds may mean little%s",
        card.name,
        " and ".join(names.get(kind, kind) for kind in card.kinds),
        "a volume" if image.kind == "volume" else "a 2D image",
        f"; trained on {names[image.kind]}: {', '.join(others)}" if others else "",
    )
