"""Objects asked for by the names of their targets, and names of what is not there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from promptseg.datasets import target_of
from promptseg.errors import PromptError
from promptseg.evaluate.options import Protocol
from promptseg.evaluate.protocols.ground_truth import Scored, View
from promptseg.evaluate.protocols.scene import Scene
from promptseg.evaluate.words import ABSENT, INSTANCE, SYNONYM, TEXT
from promptseg.image import Segment
from promptseg.models.protocol import ClosedWords, Findings, Phrase, SliceModel
from promptseg.prompts import Text
from promptseg.prompts.words import AsWritten
from promptseg.segment.parts import Part, ious
from promptseg.segment.run import Run
from promptseg.segment.segmenter import segmented
from promptseg.simulate.first import FirstPrompt
from promptseg.terms.phrases import class_word, may_be_the_same, phrases_for

__all__ = ["named_on_slice", "named_through"]

_NOTHING = FirstPrompt()
Mask = NDArray[np.bool_]


def named_on_slice(
    scene: Scene, index: int, objects: list[tuple[Segment, Mask]]
) -> Iterator[Scored]:
    """Score what a target's name finds on a slice against all objects of the target there.

    What is found nothing of counts as an empty mask. A model of a closed vocabulary is asked for what
    it knows, classes that are one word to it together. Names of targets of the dataset that no object
    on the slice has are asked for as well, as many as the options say, and so are other phrases for
    those that are there; with `instances`, every object is scored by itself, too.
    """
    kind = scene.image.kind
    facts: dict[str, Any] = {
        "protocol": "2d",
        "slice": index if kind == "volume" else None,
        "frame": index if kind == "video" else None,
    }
    model = scene.predictor.model
    segments = [segment for segment, _ in objects]
    for target, numbers in _asked_together(model, segments).items():
        own = [objects[n] for n in numbers]
        truth = np.logical_or.reduce([truth for _, truth in own])
        for phrase, prompt in _phrases(scene, model, target):
            found, seconds = _asked(scene, index, phrase)
            mask = _union(found, truth.shape)
            name = target if prompt == TEXT else phrase
            about = {"object": name, "prompt": prompt, "predicted_iou": None, "seconds": seconds}
            about["instances"] = len(found.instances)
            row = scene.row(own[0][0], truth, mask, **facts, **about)
            yield Scored(row, partial(View, index, truth, mask, _NOTHING))
            if prompt == TEXT and scene.options.instances:
                yield from _each(scene, index, own, found, {**facts, "seconds": seconds})
    geometry = scene.image.geometry
    there = [s for s in scene.objects if s.on_slice(index, geometry).any()]
    for name in _absent(scene, model, there, index):
        found, seconds = _asked(scene, index, _first(model, name))
        mask = _union(found, scene.image.geometry.shape[-2:])
        empty = np.zeros_like(mask)
        about = {"prompt": ABSENT, "predicted_iou": found.best, "instances": len(found.instances)}
        row = scene.row(_nothing(name, empty), empty, mask, **facts, **about, seconds=seconds)
        yield Scored(row, partial(View, index, empty, mask, _NOTHING))


def named_through(scene: Scene, protocol: Protocol) -> Iterator[Scored]:
    """Score what a target's name finds in a volume or video, by the code that serves users' phrases.

    Nothing is said of where an object is. Of videos every frame is scored that experts looked at. Other
    phrases are asked for as they are, each in a run of its own. With `instances` every object is scored
    by itself, too, against the instance that was matched with it through all slices or frames. Where
    another model starts the objects that one is asked, and the model's memory joins what it finds.
    """
    shape = scene.image.geometry.shape
    model = (scene.starter or scene.predictor).model
    for target, numbers in _asked_together(model, scene.objects).items():
        own = [scene.objects[n] for n in numbers]
        truth = np.logical_or.reduce([segment.mask(shape) for segment in own])
        for phrase, prompt in _phrases(scene, model, target):
            text = Text(target) if prompt == TEXT else AsWritten(phrase)
            found = _propagated(scene, text)
            name = target if prompt == TEXT else phrase
            facts: dict[str, Any] = {"protocol": protocol, "seconds": found.seconds}
            about = {"object": name, "prompt": prompt, "predicted_iou": None}
            facts["instances"] = found.instances
            mask = found.union(shape)
            yield from _through(scene, own[0], truth, mask, {**facts, **about})
            if prompt == TEXT and scene.options.instances:
                yield from _each_through(scene, own, found, facts)
    for name in _absent(scene, model, scene.objects, "all"):
        found = _propagated(scene, Text(name))
        mask = found.union(shape)
        empty = np.zeros_like(mask)
        facts = {"protocol": protocol, "prompt": ABSENT, "predicted_iou": found.best}
        facts |= {"instances": found.instances, "seconds": found.seconds}
        yield from _through(scene, _nothing(name, empty), empty, mask, facts)


class _Found(NamedTuple):
    """What a phrase found in a volume or video.

    Attributes:
        segments: one of all instances, or one of each where they are scored.
        best: the highest score.
        instances: how many instances; None where they are one.
        seconds: that it took.
    """

    segments: list[Segment]
    best: float
    instances: int | None
    seconds: float

    def union(self, shape: tuple[int, ...]) -> Mask:
        """Return all of it as one mask."""
        full = np.zeros(shape, dtype=bool)
        for segment in self.segments:
            full[segment.region] |= segment.crop
        return full


def _phrases(scene: Scene, model: SliceModel, target: str) -> Iterator[tuple[str, str]]:
    """A target's phrases and what rows call them; of a closed vocabulary others that it knows."""
    first = _first(model, target)
    yield first, TEXT
    others = [phrase for phrase in phrases_for(target) if phrase != first]
    if isinstance(model, ClosedWords):
        others = [phrase for phrase in others if _word(model, phrase) == target]
    for phrase in others[: scene.options.synonyms]:
        yield phrase, SYNONYM


def _first(model: SliceModel, target: str) -> str:
    """What a model is asked for a target by: in the words of the table of terms, or by its own word."""
    return target if isinstance(model, ClosedWords) else phrases_for(target)[0]


def _asked_together(model: SliceModel, segments: Sequence[Segment]) -> dict[str, list[int]]:
    """What is asked for -> places of the objects that it means; unknown words are not asked for."""
    found: dict[str, list[int]] = {}
    for n, segment in enumerate(segments):
        name = _word(model, target_of(segment))
        if name is not None:
            found.setdefault(name, []).append(n)
    return found


def _word(model: SliceModel, target: str) -> str | None:
    """What a target is asked for by; of a closed vocabulary its own word, or None."""
    if not isinstance(model, ClosedWords):
        return target
    try:
        return model.word(class_word(target)).name
    except PromptError:
        return None


def _through(
    scene: Scene, segment: Segment, truth: Mask, mask: Mask, facts: dict[str, Any]
) -> Iterator[Scored]:
    """One row of a volume; of a video one for every frame that was looked at."""
    if scene.image.kind != "video":
        wrong = int((truth ^ mask).sum(axis=(1, 2)).argmax())
        row = scene.row(segment, truth, mask, **facts)
        yield Scored(row, partial(View, wrong, truth[wrong], mask[wrong], _NOTHING))
        return
    for index in scene.annotated_frames():
        share = {**facts, "frame": index, "seconds": facts["seconds"] / max(1, len(mask))}
        row = scene.row(segment, truth[index], mask[index], **share)
        yield Scored(row, partial(View, index, truth[index], mask[index], _NOTHING))


def _nothing(name: str, empty: Mask) -> Segment:
    """The object of a name of which there is nothing."""
    return Segment.from_mask(name, 0, empty)


def _each(
    scene: Scene,
    index: int,
    own: list[tuple[Segment, Mask]],
    found: Findings,
    facts: dict[str, Any],
) -> Iterator[Scored]:
    """Every object of a target against the instance matched with it; none is an empty mask."""
    instances = found.instances
    agreement = ious(
        [Part.of(truth) for _, truth in own], [Part(one.region, one.crop) for one in instances]
    )
    pairs = _pairs(agreement)
    for k, (segment, truth) in enumerate(own):
        mask = instances[pairs[k]].mask if k in pairs else np.zeros_like(truth)
        sure = found.instances[pairs[k]].score if k in pairs else None
        row = scene.row(segment, truth, mask, prompt=INSTANCE, predicted_iou=sure, **facts)
        yield Scored(row, partial(View, index, truth, mask, _NOTHING))


def _each_through(
    scene: Scene, own: list[Segment], found: _Found, facts: dict[str, Any]
) -> Iterator[Scored]:
    """As `_each`, of objects through a volume or video."""
    shape = scene.image.geometry.shape
    instances = [segment for segment in found.segments if not segment.is_empty]
    truths, parts = ([Part(one.region, one.crop) for one in each] for each in (own, instances))
    pairs = _pairs(ious(truths, parts))
    for k, segment in enumerate(own):
        truth = segment.mask(shape)
        one = instances[pairs[k]] if k in pairs else None
        mask = np.zeros_like(truth) if one is None else one.mask(shape)
        sure = one.words.score if one and one.words else None
        about = {**facts, "prompt": INSTANCE, "predicted_iou": sure}
        yield from _through(scene, segment, truth, mask, about)


def _pairs(agreement: NDArray[np.float64]) -> dict[int, int]:
    """Objects (rows) and instances that are matched, so that the sum is the largest and none is 0."""
    if not agreement.size:
        return {}
    objects, instances = linear_sum_assignment(-agreement)
    matched = zip(objects.tolist(), instances.tolist(), strict=True)
    return {k: n for k, n in matched if agreement[k, n] > 0}


def _asked(scene: Scene, index: int, phrase: str) -> tuple[Findings, float]:
    """What a phrase finds on a slice, and seconds."""
    embedding = scene.stack.embedding(index)
    clock = scene.clock()
    (found,) = scene.predictor.find(embedding, [Phrase(phrase)])
    return found, clock()


def _union(found: Findings, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    for instance in found.instances:
        mask[instance.region] |= instance.crop
    return mask


def _propagated(scene: Scene, text: Text) -> _Found:
    """What a phrase finds in all slices."""
    clock = scene.clock()
    several = scene.options.instances
    options = scene.options.propagation(force=scene.options.force, instances=several)
    starting = scene.starting_stack if scene.starter else None
    run = Run.prepare(scene.stack, [text], options, None, time.perf_counter(), starting)
    segments = segmented(run)
    scores = [score for s in segments if s.words for score in s.words.scores.values()]
    number = sum(not s.is_empty for s in segments) if several else None
    return _Found(segments, max(scores, default=0.0), number, clock())


def _absent(scene: Scene, model: SliceModel, there: list[Segment], place: object) -> list[str]:
    """Some names of what is not there: those looked for on the case, where the dataset says so, else
    those of targets of the dataset that none of the objects may be meant by."""
    looked_for = scene.case.absent
    targets = sorted(set(scene.dataset.targets.values() if looked_for is None else looked_for))
    names = [_word(model, name) for name in targets]
    present = {_word(model, target_of(segment)) for segment in there} - {None}
    away = [
        name
        for name in dict.fromkeys(names)
        if name and not any(other and may_be_the_same(name, other) for other in present)
    ]
    chance = scene.chance_of(ABSENT, place)
    return [away[k] for k in sorted(chance.permutation(len(away))[: scene.options.absent])]
