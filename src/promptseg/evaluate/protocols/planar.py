"""2d and interactive-2d: every slice by itself (MedSAM, Methods; MedicoSAM, section II-E)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets import target_of
from promptseg.evaluate.protocols.labelled import Scored, View
from promptseg.evaluate.protocols.scene import Scene
from promptseg.image import Segment
from promptseg.models.protocol import Phrase
from promptseg.simulate.clicks import interactive_rounds
from promptseg.simulate.first import FirstPrompt, first_prompt
from promptseg.terms.words import words_of

__all__ = ["planar"]


def planar(scene: Scene, protocol: Literal["2d", "interactive-2d"]) -> Iterator[Scored]:
    """Prompt every object on every chosen slice; with corrections if the protocol has them."""
    options = scene.options
    rounds = options.corrections if protocol == "interactive-2d" else 0
    kinds = scene.prompts(protocol)
    pointing = [kind for kind in kinds if kind != "text"]
    kind_of_image = scene.image.kind
    for index, objects in scene.slices():
        embedding = scene.stack.embedding(index)
        if "text" in kinds:
            yield from _named(scene, index, objects)
        for segment, truth in objects:
            for kind in pointing:
                chance = scene.chance(segment, index, kind)
                first = first_prompt(kind, truth, chance, options.drawn(), options.clicks)
                answers = interactive_rounds(
                    scene.predictor,
                    embedding,
                    truth,
                    first,
                    rounds,
                    chance if options.clicks == "random" else None,
                    options.previous_mask,
                )
                clock = scene.clock()
                for step, answer in enumerate(answers):
                    row = scene.row(
                        segment,
                        truth,
                        answer.mask,
                        protocol=protocol,
                        prompt=f"{kind}+corrections" if rounds else kind,
                        slice=index if kind_of_image == "volume" else None,
                        frame=index if kind_of_image == "video" else None,
                        step=step,
                        predicted_iou=answer.iou,
                        seconds=clock(),
                    )
                    yield Scored(row, partial(View, index, truth, answer.mask, first))
                    clock = scene.clock()


def _named(
    scene: Scene, index: int, objects: list[tuple[Segment, NDArray[np.bool_]]]
) -> Iterator[Scored]:
    """All that a target's name finds on a slice, against all objects of the target there.

    What is found nothing of counts as an empty mask.
    """
    embedding, kind = scene.stack.embedding(index), scene.image.kind
    for target in dict.fromkeys(target_of(segment) for segment, _ in objects):
        own = [(segment, truth) for segment, truth in objects if target_of(segment) == target]
        truth = np.logical_or.reduce([truth for _, truth in own])
        clock = scene.clock()
        (found,) = scene.predictor.find(embedding, [Phrase(words_of(target).name)])
        mask = np.zeros(truth.shape, dtype=bool)
        for instance in found.instances:
            mask |= instance.mask
        row = scene.row(
            own[0][0],
            truth,
            mask,
            object=target,
            protocol="2d",
            prompt="text",
            slice=index if kind == "volume" else None,
            frame=index if kind == "video" else None,
            predicted_iou=None,
            seconds=clock(),
        )
        yield Scored(row, partial(View, index, truth, mask, FirstPrompt()))
