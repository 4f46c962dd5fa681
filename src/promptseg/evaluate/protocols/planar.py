"""2d and interactive-2d: every slice by itself (MedSAM, Methods; MedicoSAM, section II-E)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from promptseg.evaluate.protocols.by_name import named_on_slice
from promptseg.evaluate.protocols.ground_truth import Scored, View
from promptseg.evaluate.protocols.scene import Scene
from promptseg.simulate.clicks import interactive_rounds
from promptseg.simulate.first import first_prompt

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
            yield from named_on_slice(scene, index, objects)
        for segment, truth in objects:
            for kind in pointing:
                chance = scene.chance(segment, index, kind)
                first = first_prompt(kind, truth, chance, options.drawn(), options.clicks)
                answers = interactive_rounds(
                    scene.predictor,
                    embedding,
                    truth=truth,
                    first=first,
                    rounds=rounds,
                    rng=chance if options.clicks == "random" else None,
                    previous_mask=options.previous_mask,
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
