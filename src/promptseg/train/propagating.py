"""Validation of propagation: how well an object is followed from a box on the first frame of a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Numbers
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.metrics.overlap import count
from promptseg.models.protocol import Embedding, Remembering, SlicePrompt
from promptseg.prompts import box_of_mask
from promptseg.train.sequences import Clip, masks_along

__all__ = ["propagated"]


@dataclass(frozen=True)
class _Encoded:
    """The frames of a clip: see `Frames`."""

    predictor: Predictor
    embeddings: Sequence[Embedding]
    pixel: tuple[float, float]

    def __len__(self) -> int:
        return len(self.embeddings)

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        """Of one frame."""
        return self.embeddings[index]

    def hold(self, frames: Numbers[int]) -> None:
        """Nothing is forgotten."""


def propagated(
    predictor: Predictor,
    collection: Collection,
    clip: Clip,
    names: Sequence[str],
    kept: Callable[[Sample], Tensor] | None = None,
) -> Iterator[tuple[float, float]]:
    """Propagate some objects with memory, by the code that propagates them for users.

    Args:
        predictor: a model with memory.
        collection: where the clip is from.
        clip: two frames or more.
        names: of objects on the first frame, each known by its name on all frames.
        kept: sample -> its (C, h, w) embedding, where the model's encoder has made it before.

    Yields:
        For each object, over the frames after the first, the means of DSC and predicted IoU. Nothing
        found where nothing is counts as 1.

    Raises:
        InputError: a model without memory, or a sample that cannot be read.
    """
    if not names:
        return
    if not isinstance(predictor.model, Remembering):
        raise InputError("a model with memory", predictor.card.name, "name such a model")
    read = [collection.read(sample, predictor.card.keep_8bit) for sample in clip]
    if kept is None:
        embeddings = [predictor.encode([picture], clip[0].pixel)[0] for picture, _ in read]
    else:
        embeddings = [
            predictor.unpack({"features": kept(sample)[None]}, sample.shape, sample.pixel)
            for sample in clip
        ]
    frames = _Encoded(predictor, embeddings, clip[0].pixel)
    for masks in masks_along(clip, names, [labels for _, labels in read]):
        memory = predictor.model.memory(frames)
        x0, y0, x1, y1 = (float(v) for v in box_of_mask(masks[0]) or ())
        memory.prompt(0, SlicePrompt((x0, y0, x1, y1)))
        answers = [memory.propagate(k) for k in range(1, len(clip))]
        scores = [
            count(truth, answer.mask).dsc if truth.any() or answer.mask.any() else 1.0
            for truth, answer in zip(masks[1:], answers, strict=True)
        ]
        yield float(np.mean(scores)), float(np.mean([answer.iou for answer in answers]))
