"""Measures of how unsure a model is of an image, from 0 (sure) to 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.inference.predictor import Predictor
from promptseg.metrics.overlap import count
from promptseg.models.protocol import Embedding, SlicePrompt
from promptseg.simulate.seeds import generator

__all__ = ["click_doubt", "disagreement", "entropy", "jitter_doubt", "mirror_doubt"]

_JITTERS, _JITTER = 5, 0.05  # boxes, and how far their edges move, as a share of their size
_CLICKS = 4  # along each side of the grid that stands in for prompts


def entropy(chances: Tensor) -> float:
    """Return the mean entropy of the classes over all pixels, as a share of the largest possible.

    Args:
        chances: (classes, rows, columns), background included, sum 1.

    Examples:
        >>> entropy(torch.full((4, 2, 2), 0.25))
        1.0
    """
    own = torch.special.entr(chances.double()).sum(0).mean() / np.log(len(chances))
    return float(own.clamp(0, 1))


def mirror_doubt(chances: Tensor, mirrored: Tensor) -> float:
    """Return 1 - mean DSC between the classes of an image and those of its mirror image, turned back.

    Classes that neither shows do not count; if there is none, 0.

    Args:
        chances: (classes, rows, columns), the background first.
        mirrored: the same of the mirror image.
    """
    one, other = chances.argmax(0).cpu().numpy(), mirrored.argmax(0).cpu().numpy()
    doubts = [
        1 - count(one == k, other == k).dsc
        for k in range(1, len(chances))
        if (one == k).any() or (other == k).any()
    ]
    return float(np.mean(doubts)) if doubts else 0.0


def disagreement(masks: Sequence[NDArray[np.bool_]]) -> float:
    """Return 1 - mean DSC over all pairs of masks of one object; two empty masks agree.

    Args:
        masks: (rows, columns) each, two at least.
    """
    pairs = [count(a, b).dsc if a.any() or b.any() else 1.0 for a, b in combinations(masks, 2)]
    return 1 - float(np.mean(pairs))


def jitter_doubt(
    predictor: Predictor,
    embedding: Embedding,
    prompts: Sequence[SlicePrompt],
    shape: tuple[int, int],
    seed: int,
    *place: object,
) -> float:
    """Return the mean `disagreement` of the masks of slightly moved prompts, over a slice's objects.

    Edges of boxes and clicks move by up to 5 % of the box's width and height, or of the image's
    where there is no box.

    Args:
        predictor: the model.
        embedding: of the slice.
        prompts: one per object, each with a box or clicks.
        shape: (rows, columns) of the slice.
        seed: of how they move.
        place: what else chance hangs on, such as the image's name.
    """
    doubts = []
    for number, prompt in enumerate(prompts):
        moved = list(_moved(prompt, shape, generator(seed, *place, number)))
        masks = [predictor.decode(embedding, [one]).masks[0] for one in moved]
        doubts.append(disagreement(masks))
    return float(np.mean(doubts)) if doubts else 0.0


def click_doubt(predictor: Predictor, embedding: Embedding, shape: tuple[int, int]) -> float:
    """Return 1 - mean predicted IoU of the masks of a grid of 4 x 4 single clicks; needs no prompt.

    Args:
        predictor: the model, trained for clicks.
        embedding: of the slice.
        shape: (rows, columns) of the slice.
    """
    rows, columns = ((np.arange(_CLICKS) + 0.5) * n / _CLICKS for n in shape)
    clicks = [SlicePrompt(xy=((float(x), float(y)),), labels=(1,)) for y in rows for x in columns]
    answer = predictor.decode(embedding, clicks)
    return 1 - float(np.clip(answer.iou, 0, 1).mean())


def _moved(
    prompt: SlicePrompt, shape: tuple[int, int], chance: np.random.Generator
) -> Iterator[SlicePrompt]:
    """The prompt itself, and some that are like it."""
    yield prompt
    rows, columns = shape
    ends = np.array([columns - 1, rows - 1], np.float64)
    size = ends if prompt.box is None else np.subtract(prompt.box[2:], prompt.box[:2]) + 1
    for _ in range(_JITTERS - 1):
        step = chance.uniform(-_JITTER, _JITTER, (2 + len(prompt.xy), 2)) * size
        box = None
        if prompt.box is not None:
            corners = np.clip(np.reshape(prompt.box, (2, 2)) + step[:2], 0, ends)
            low, high = corners.min(0), corners.max(0)
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        moved = np.clip(np.reshape(prompt.xy, (-1, 2)) + step[2:], 0, ends)
        xy = tuple((float(x), float(y)) for x, y in moved)
        yield SlicePrompt(box, xy, prompt.labels, prompt.mask)
