"""Objects asked for by the names of their targets, and names of what is not there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from promptseg.datasets import target_of
from promptseg.errors import PromptError
from promptseg.evaluate.options import Protocol
from promptseg.evaluate.protocols.ground_truth import Scored, View
from promptseg.evaluate.protocols.scene import Scene
from promptseg.image import Segment
from promptseg.metrics.overlap import count
from promptseg.models.protocol import ClosedWords, Findings, Phrase
from promptseg.prompts import Text
from promptseg.segment.run import Run
from promptseg.segment.segmenter import segmented
from promptseg.simulate.first import FirstPrompt
from promptseg.terms.phrases import class_word, may_be_the_same, phrases_for

__all__ = ["ABSENT", "INSTANCE", "SYNONYM", "named_on_slice", "named_through"]

ABSENT = "absent text"
"""What rows call a prompt for what is not there: their DSC is 1 where nothing is found, else 0, and
their predicted IoU the highest score."""
SYNONYM, INSTANCE = "synonym text", "text instance"
"""What rows call another phrase for a target, and an object against the instance matched with it."""

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
    for target, numbers in _asked_together(scene, [segment for segment, _ in objects]).items():
        own = [objects[n] for n in numbers]
        truth = np.logical_or.reduce([truth for _, truth in own])
        first, *others = phrases_for(target)
        for phrase, prompt in (
            (first, "text"),
            *((other, SYNONYM) for other in others[: scene.options.synonyms]),
        ):
            found, seconds = _asked(scene, index, phrase)
            mask = _union(found, truth.shape)
            name = target if prompt == "text" else phrase
            about = {"object": name, "prompt": prompt, "predicted_iou": None, "seconds": seconds}
            row = scene.row(own[0][0], truth, mask, **facts, **about)
            yield Scored(row, partial(View, index, truth, mask, _NOTHING))
            if prompt == "text" and scene.options.instances:
                yield from _each(scene, index, own, found, {**facts, "seconds": seconds})
    geometry = scene.image.geometry
    there = [s for s in scene.objects if s.on_slice(index, geometry).any()]
    for name in _absent(scene, there, index):
        found, seconds = _asked(scene, index, phrases_for(name)[0])
        mask = _union(found, scene.image.geometry.shape[-2:])
        empty = np.zeros_like(mask)
        about = {"prompt": ABSENT, "predicted_iou": found.best}
        row = scene.row(_nothing(name, empty), empty, mask, **facts, **about, seconds=seconds)
        yield Scored(row, partial(View, index, empty, mask, _NOTHING))


def named_through(scene: Scene, protocol: Protocol) -> Iterator[Scored]:
    """Score what a target's name finds in a volume or video, by the code that serves users' phrases.

    Nothing is said of where an object is. Of videos every frame is scored that experts looked at.
    """
    shape = scene.image.geometry.shape
    for target, numbers in _asked_together(scene, scene.objects).items():
        own = [scene.objects[n] for n in numbers]
        truth = np.logical_or.reduce([segment.mask(shape) for segment in own])
        mask, _, seconds = _propagated(scene, target)
        about = {"object": target, "prompt": "text", "predicted_iou": None}
        facts: dict[str, Any] = {"protocol": protocol, **about}
        yield from _through(scene, own[0], truth, mask, seconds, facts)
    for name in _absent(scene, scene.objects, "all"):
        mask, best, seconds = _propagated(scene, name)
        empty = np.zeros_like(mask)
        facts = {"protocol": protocol, "prompt": ABSENT, "predicted_iou": best}
        yield from _through(scene, _nothing(name, empty), empty, mask, seconds, facts)


def _asked_together(scene: Scene, segments: Sequence[Segment]) -> dict[str, list[int]]:
    """What is asked for -> places of the objects that it means; unknown words are not asked for."""
    found: dict[str, list[int]] = {}
    for n, segment in enumerate(segments):
        name = _word(scene, target_of(segment))
        if name is not None:
            found.setdefault(name, []).append(n)
    return found


def _word(scene: Scene, target: str) -> str | None:
    """What a target is asked for by; of a closed vocabulary its own word, or None."""
    model = scene.predictor.model
    if not isinstance(model, ClosedWords):
        return target
    try:
        return model.word(class_word(target)).name
    except PromptError:
        return None


def _through(
    scene: Scene, segment: Segment, truth: Mask, mask: Mask, seconds: float, facts: dict[str, Any]
) -> Iterator[Scored]:
    """One row of a volume; of a video one for every frame that was looked at."""
    if scene.image.kind != "video":
        wrong = int((truth ^ mask).sum(axis=(1, 2)).argmax())
        row = scene.row(segment, truth, mask, **facts, seconds=seconds)
        yield Scored(row, partial(View, wrong, truth[wrong], mask[wrong], _NOTHING))
        return
    for index in scene.annotated_frames():
        share = {**facts, "frame": index, "seconds": seconds / max(1, len(mask))}
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
    masks = [instance.mask for instance in found.instances]
    agreement = np.array([[count(truth, mask).iou for mask in masks] for _, truth in own])
    pairs = {}
    if masks:
        objects, instances = linear_sum_assignment(-agreement)
        pairs = dict(zip(objects.tolist(), instances.tolist(), strict=True))
    for k, (segment, truth) in enumerate(own):
        matched = k in pairs and agreement[k, pairs[k]] > 0
        mask = masks[pairs[k]] if matched else np.zeros_like(truth)
        sure = found.instances[pairs[k]].score if matched else None
        row = scene.row(segment, truth, mask, prompt=INSTANCE, predicted_iou=sure, **facts)
        yield Scored(row, partial(View, index, truth, mask, _NOTHING))


def _asked(scene: Scene, index: int, phrase: str) -> tuple[Findings, float]:
    """What a phrase finds on a slice, and seconds."""
    embedding = scene.stack.embedding(index)
    clock = scene.clock()
    (found,) = scene.predictor.find(embedding, [Phrase(phrase)])
    return found, clock()


def _union(found: Findings, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    for instance in found.instances:
        mask |= instance.mask
    return mask


def _propagated(scene: Scene, name: str) -> tuple[Mask, float, float]:
    """The union of what a name finds in all slices, the highest score, and seconds."""
    clock = scene.clock()
    options = scene.options.propagation(force=scene.options.force)
    run = Run.prepare(scene.stack, [Text(name)], options, None, time.perf_counter())
    (segment,) = segmented(run)
    best = max(segment.words.scores.values(), default=0.0) if segment.words else 0.0
    return segment.mask(scene.image.geometry.shape), best, clock()


def _absent(scene: Scene, there: list[Segment], place: object) -> list[str]:
    """Some names of what is not there: those looked for on the case, where the dataset says so, else
    those of targets of the dataset that none of the objects may be meant by."""
    looked_for = scene.case.absent
    targets = sorted(set(scene.dataset.targets.values() if looked_for is None else looked_for))
    names = [_word(scene, name) for name in targets]
    present = {_word(scene, target_of(segment)) for segment in there} - {None}
    away = [
        name
        for name in dict.fromkeys(names)
        if name and not any(other and may_be_the_same(name, other) for other in present)
    ]
    chance = scene.chance_of(ABSENT, place)
    return [away[k] for k in sorted(chance.permutation(len(away))[: scene.options.absent])]
