"""Objects by words: every slice is looked at, what is found is linked through slices."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptseg.image import FoundByWords, Segment
from promptseg.models.protocol import (
    ClosedWords,
    Findings,
    Instance,
    Phrase,
    Remembering,
    SliceMasks,
)
from promptseg.prompts import Text
from promptseg.segment.asked_words import nothing_found, words_asked
from promptseg.segment.assemble import segment_of
from promptseg.segment.joining import joined
from promptseg.segment.link_by_propagation import linked_by_propagation
from promptseg.segment.linking import Track, linked, without_duplicates
from promptseg.segment.packed_instances import PackedInstances
from promptseg.segment.run import Run
from promptseg.segment.video.masks import Packed, Unpacked
from promptseg.terms import Term, with_code

__all__ = ["ObjectByWords", "found_by_words", "objects_by_words", "phrase_for"]

log = logging.getLogger("promptseg")

_GAP = 2  # slices of a volume on which an object may be missed


@dataclass(frozen=True)
class ObjectByWords:
    """An object that words have found.

    Attributes:
        name: of the object.
        masks: slice -> (rows, columns) mask, packed; none where nothing was found.
        words: by what it was found, and how surely on every slice.
    """

    name: str
    masks: Unpacked
    words: FoundByWords


def found_by_words(run: Run) -> list[Segment]:
    """Find what the phrases of a run name, as objects on the image's grid, cleaned up; see
    `objects_by_words`.
    """
    image = run.visit.embedded.image
    segments = []
    for label, one in enumerate(objects_by_words(run), 1):
        if not one.masks:
            size = image.geometry.slice_shape(run.axis)
            one.masks[run.limits[0]] = np.zeros(size, dtype=bool)
        segment = segment_of(one.name, label, SliceMasks(one.masks), image, run.options)
        segment.words = one.words
        segments.append(segment)
    return segments


def objects_by_words(run: Run) -> list[ObjectByWords]:
    """Find what the phrases of a run name: all instances of one together as an object, or each by
    itself.

    Each slice is encoded once, whatever the number of phrases. Where an object lies need not be known:
    it begins where it is first found and ends where it is found no more. Nothing found is an empty
    object, never a guess. Where another model starts the objects that one is asked, and the memory of
    the run's own joins what it finds. Masks are kept packed, whatever the number of slices.
    """
    starting = run.starting
    visit = run.visit if starting is None else starting.visit(run.visit.on_encoded)
    given = [(n, text) for n, entry in enumerate(run.objects) for text in entry.texts]
    texts, notes = words_asked(visit.embedded, [text for _, text in given], run.options.force)
    for note in notes:
        log.warning("%s", note)
    asked = [(n, text) for (n, _), text in zip(given, texts, strict=True)]
    seen: list[dict[int, Findings]] = [{} for _ in asked]
    instances = [PackedInstances() for _ in run.objects]
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
        of_object: dict[int, list[Instance]] = {}
        for n, findings in zip(told, found, strict=True):
            seen[n][index] = replace(findings, instances=())
            of_object.setdefault(asked[n][0], []).extend(findings.instances)
        for number, several in of_object.items():
            instances[number].put(index, without_duplicates(several, run.options.max_overlap))
    objects: list[ObjectByWords] = []
    for number, entry in enumerate(run.objects):
        own = [(text, seen[n]) for n, (of, text) in enumerate(asked) if of == number]
        for name, tracks in _objects(run, entry.name, instances[number]):
            objects.append(_union(run, name, tracks, own))
    return objects


def phrase_for(text: Text, index: int) -> Phrase | None:
    """Return the phrase to look for on a slice; None where there are neither words nor an example on
    it.
    """
    inside, outside = text.on_slice(index)
    words = text.words.name
    return Phrase(words, inside, outside) if words or inside else None


def _objects(
    run: Run, name: str, slices: Mapping[int, Sequence[Instance]]
) -> list[tuple[str, list[Track]]]:
    """Names, and what is to be under them; at least one, which may be of nothing."""
    options = run.options
    video = run.visit.embedded.image.kind == "video"
    model = run.visit.predictor.model
    memory = model if run.starting is not None and isinstance(model, Remembering) else None
    by_propagation = options.link == "propagation"
    tracks = linked(slices, options.min_iou, _GAP, fill=not video and not by_propagation)
    if by_propagation:
        tracks = linked_by_propagation(run, tracks, options.min_iou)
    if memory is not None:
        tracks = joined(tracks, memory, run.visit, options.min_iou, returns=video)
    if not options.instances or len(tracks) < 2:
        return [(name, tracks)]
    return [(f"{name} {n}", [track]) for n, track in enumerate(tracks, 1)]


def _union(
    run: Run,
    name: str,
    tracks: list[Track],
    asked: Sequence[tuple[Text, dict[int, Findings]]],
) -> ObjectByWords:
    """The union of some tracks as one object."""
    masks = Unpacked()
    size = next((track.masks.size for track in tracks if track.masks), (0, 0))
    found: dict[int, list[Packed]] = {}
    for track in tracks:
        for index, packed in track.masks.packed.items():
            found.setdefault(index, []).append(packed)
    for index, several in found.items():
        full = np.zeros(size, bool)
        for packed in several:
            full[packed.region] |= packed.crop()
        masks[index] = full
    words = _found_by(run, tracks, asked)
    if not masks:
        said = nothing_found(name, words.score, run.options.min_score)
        log.warning("%s: %s", run.visit.embedded.image.name, said)
    return ObjectByWords(name, masks, words)


def _found_by(
    run: Run, tracks: list[Track], asked: Sequence[tuple[Text, dict[int, Findings]]]
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
    term = next((found for text, _ in asked if (found := _term(run, text))), None)
    return FoundByWords(
        "; ".join(dict.fromkeys(text.words.name or text.to_json() for text, _ in asked)),
        float(np.mean(own)) if own else max(scores.values(), default=0.0),
        scores,
        presence,
        term.code if term else "",
        term.meaning if term else "",
    )


def _term(run: Run, text: Text) -> Term | None:
    """The term that a phrase stands for: by the table, or by the code that a closed vocabulary has."""
    model = (run.starting or run.visit).predictor.model
    if text.words.term is None and isinstance(model, ClosedWords):
        return with_code(model.word(text.words.name).code)
    return text.words.term
