"""3d, interactive-3d and video: one prompt, propagated from slice to slice or from frame to frame
(SAM2 medical benchmark, section 2.1 and table 3; MedicoSAM, sections II-C and II-E)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from promptseg.evaluate.options import Protocol
from promptseg.evaluate.protocols.by_name import named_through
from promptseg.evaluate.protocols.ground_truth import Scored, View
from promptseg.evaluate.protocols.scene import Scene
from promptseg.evaluate.rows import PROMPTED
from promptseg.evaluate.settings import Setting
from promptseg.image import Segment
from promptseg.models.protocol import ConditioningPrompt, SliceMasks
from promptseg.prompts import Box, Mask, Points
from promptseg.segment.choices import resolved
from promptseg.segment.conditioning import answer_condition
from promptseg.segment.projection import kinds_of
from promptseg.segment.slice_to_slice import gathered
from promptseg.segment.trackers import tracker_for
from promptseg.simulate.first import FirstPrompt, PromptKind, first_prompt

__all__ = ["propagate_through"]


def propagate_through(
    scene: Scene, protocol: Protocol, settings: Sequence[Setting] = (Setting(),), label: str = ""
) -> Iterator[Scored]:
    """Prompt every object once and propagate it.

    Volumes are prompted on the middle one of the slices the object occupies and propagated both ways;
    videos on the first frame it is seen on, and propagated forwards. A mask that is given (the ground
    truth's, or another model's) is kept on its own slice as it is.

    Args:
        scene: the case.
        protocol: "3d", "interactive-3d" or "video".
        settings: how it is propagated; each gives rows of its own.
        label: what the rows call the protocol, if not by its name.
    """
    kinds = scene.prompts(protocol)
    if "text" in kinds:
        yield from named_through(scene, protocol)
    kinds = [kind for kind in kinds if kind != "text"]
    for segment in scene.objects if kinds else ():
        occupied = np.flatnonzero(segment.crop.any(axis=(1, 2))) + segment.region[0].start
        if not len(occupied):
            continue
        video = scene.image.kind == "video"
        start = int(occupied[0] if video else occupied[len(occupied) // 2])
        reach = (start if video else 0, len(scene.stack) - 1)
        for kind in kinds:
            clock = scene.clock()
            condition, first = _conditioning_prompt(scene, segment, start, kind, reach)
            started = clock()
            prompt = f"{kind} of {scene.starter.card.name}" if scene.starter else kind
            for setting in settings:
                if setting.prompt not in ("", prompt):
                    continue
                clock = scene.clock()
                options = scene.options.propagation(**setting.changes)
                options = resolved(options, scene.predictor.card)
                if options.propagate != "none":
                    scene.predictor.require(kinds_of(str(options.propagate)), scene.options.force)
                tracker = tracker_for(scene.predictor, options, len(scene.stack) > 1, video)
                (found,) = gathered(tracker.track(scene.stack, [condition]), 1)
                facts = {
                    "protocol": label or protocol,
                    "prompt": prompt,
                    "setting": setting.name,
                    "seconds": started + clock(),
                }
                if video:
                    yield from _frames(scene, segment, start, found, first, facts)
                else:
                    yield _volume(scene, segment, found, (start, first), facts)


def _conditioning_prompt(
    scene: Scene, segment: Segment, start: int, kind: PromptKind, reach: tuple[int, int]
) -> tuple[ConditioningPrompt, FirstPrompt | None]:
    """Where an object starts, and what was drawn there."""
    truth = segment.on_slice(start, scene.image.geometry)
    if kind == "mask":
        return ConditioningPrompt(start, mask=Mask(truth, start, as_drawn=True), reach=reach), None
    chance = scene.chance(segment, start, kind)
    first = first_prompt(kind, truth, chance, scene.options.drawn(), scene.options.clicks)
    box = Box(first.box, start) if first.box else None
    points = None
    if first.clicks:
        xy = tuple((float(c.x), float(c.y)) for c in first.clicks)
        points = Points(xy, tuple(c.label for c in first.clicks), start)
    condition = ConditioningPrompt(start, box=box, points=points, reach=reach)
    if scene.starter:
        answer = answer_condition(scene.starting_stack, condition)
        condition = ConditioningPrompt(
            start, mask=Mask(answer.mask, start, as_drawn=True), reach=reach
        )
    return condition, first


def _volume(
    scene: Scene,
    segment: Segment,
    found: SliceMasks,
    started: tuple[int, FirstPrompt | None],
    facts: dict[str, Any],
) -> Scored:
    shape = scene.image.geometry.shape
    truth, mask = segment.mask(shape), np.zeros(shape, dtype=bool)
    for index, one in found.masks.items():
        mask[index] = one
    row = scene.row(segment, truth, mask, predicted_iou=_mean(found), **facts)

    def view() -> View:
        wrong = int((truth ^ mask).sum(axis=(1, 2)).argmax())
        return View(wrong, truth[wrong], mask[wrong], started[1] if started[0] == wrong else None)

    return Scored(row, view)


def _frames(
    scene: Scene,
    segment: Segment,
    start: int,
    found: SliceMasks,
    first: FirstPrompt | None,
    facts: dict[str, Any],
) -> Iterator[Scored]:
    """A row for every frame that experts have looked at, from the prompted one on."""
    for index in (k for k in scene.annotated_frames() if k >= start):
        truth = segment.on_slice(index, scene.image.geometry)
        mask = found.masks.get(index, np.zeros_like(truth))
        quality = found.quality.get(index)
        share = {**facts, "seconds": facts["seconds"] / max(1, len(found.masks))}
        if index == start:
            share["note"] = PROMPTED
        row = scene.row(segment, truth, mask, frame=index, predicted_iou=quality, **share)
        yield Scored(row, partial(View, index, truth, mask, first if index == start else None))


def _mean(found: SliceMasks) -> float | None:
    return float(np.mean(list(found.quality.values()))) if found.quality else None
