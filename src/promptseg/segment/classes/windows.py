"""Probabilities of classes on slices of any size and stacks of any length, patch by patch.

What is held at a time is bounded: the probabilities of one slice, or of as many slices as a patch of a
volume model is good for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.models.heads.semantic.model import SemanticSam
from promptseg.models.nnunet.model import NnunetClasses

__all__ = ["ClassModel", "Windows", "probabilities", "uncertainty"]

ClassModel = SemanticSam | NnunetClasses
"""What gives classes without prompts."""

Pixels = Callable[[int], NDArray[np.uint8]]
"""Index -> (rows, columns[, 3]) slice as 0..255."""


@dataclass(frozen=True)
class Windows:
    """Windows that slices are cut into.

    Attributes:
        tile: side of a window in pixels of the slice; None for whole slices.
        overlap: share of its side that a window has in common with the next.
        mirror: average over the slice and its mirror images (rows, columns, both).
    """

    tile: int | None = None
    overlap: float = 0.5
    mirror: bool = False


def probabilities(
    model: ClassModel,
    pixels: Pixels,
    indices: Sequence[int],
    pixel: tuple[float, float],
    windows: Windows,
    embedded: Sequence[Tensor] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the probabilities of all classes on some slices, in their order.

    Args:
        model: of single slices, or of volumes.
        pixels: of a slice.
        indices: of neighbouring slices. A volume model sees those before and after a patch as far as
            they are among these; at the ends the last one is repeated.
        pixel: width and height of pixels, in any unit.
        windows: how slices are cut.
        embedded: (C, h, w) of each of the slices, where they are encoded already; they are not cut.

    Yields:
        Index of a slice, and (1 + classes, rows, columns) float32, background first, sum 1.
    """
    depth, halo = model.card.depth, model.card.halo
    if depth > 1 and isinstance(model, NnunetClasses):  # which cuts stacks itself
        yield from _in_stacks(model, pixels, indices, pixel, windows)
        return
    embedding: Callable[[int], Tensor] | None = None
    if embedded is not None:
        embedding = embedded.__getitem__
    elif (
        isinstance(model, SemanticSam)
        and model.encodes_slices_alone
        and windows.tile is None
        and not windows.mirror
    ):  # neighbouring patches share slices, each of which is encoded once
        embedding = lru_cache(depth)(lambda k: model.embed(pixels(indices[k]), pixel))
    step = depth - 2 * halo
    for first in range(0, len(indices), step):
        own = range(first, min(first + step, len(indices)))
        seen = own if depth == 1 else range(first - halo, first - halo + depth)
        near = [min(max(k, 0), len(indices) - 1) for k in seen]
        if embedding is None:
            found = _in_windows(model, [pixels(indices[k]) for k in near], pixel, windows)
        else:
            shape = pixels(indices[near[0]]).shape[:2]
            transform = model.preprocessing.input_transform(shape[0], shape[1], pixel)
            found = model.of_embeddings(
                torch.stack([embedding(k) for k in near]), transform
            ).softmax(1)
        for k in own:
            yield indices[k], found[k - seen.start]


def uncertainty(chances: Tensor) -> NDArray[np.uint8]:
    """Return the entropy of the classes at every pixel as 0..255, where 255 is the largest there can
    be.

    Args:
        chances: (1 + classes, rows, columns), sum 1.
    """
    entropy = torch.special.entr(chances).sum(0) / np.log(len(chances))
    said: NDArray[np.uint8] = (255 * entropy.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    return said


def _in_stacks(
    model: NnunetClasses,
    pixels: Pixels,
    indices: Sequence[int],
    pixel: tuple[float, float],
    windows: Windows,
) -> Iterator[tuple[int, Tensor]]:
    """As `probabilities`, of a model that takes stacks of any length; its answers wait on the disk, and
    a slice at a time is put together.
    """
    if not indices:
        return
    rows, columns = pixels(indices[0]).shape[:2]
    places = [(slice(0, rows), slice(0, columns))]
    if (tile := windows.tile) is not None and (rows > tile or columns > tile):
        places = [
            (slice(top, min(top + tile, rows)), slice(left, min(left + tile, columns)))
            for top in _starts(rows, windows)
            for left in _starts(columns, windows)
        ]

    def turned(part: tuple[slice, slice], axes: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
        return (np.ascontiguousarray(np.flip(pixels(k)[part], axes)) for k in indices)

    with ExitStack() as open_answers:
        answers = []
        for part in places:
            shape = (len(indices), *(side.stop - side.start for side in part))
            asked = (model.on_stack(turned(part, axes), shape, pixel) for axes in _flips(windows))
            answers.append([open_answers.enter_context(one) for one in asked])
        for number, index in enumerate(indices):
            total = torch.zeros(1 + len(model.classes), rows, columns)
            weights = torch.zeros(rows, columns)
            for part, mirrored in zip(places, answers, strict=True):
                found = torch.zeros(())
                for logits, axes in zip(mirrored, _flips(windows), strict=True):
                    found = found + logits(number).softmax(0).flip([axis + 1 for axis in axes])
                weight = _weights(found.shape[-2:]) if len(places) > 1 else torch.ones(())
                total[(..., *part)] += found / len(mirrored) * weight
                weights[part] += weight
            yield index, total / weights


def _flips(windows: Windows) -> list[tuple[int, ...]]:
    """Axes of (rows, columns) along which slices are mirrored, each in turn."""
    return [(), (0,), (1,), (0, 1)] if windows.mirror else [()]


def _in_windows(
    model: ClassModel,
    stack: list[NDArray[np.uint8]],
    pixel: tuple[float, float],
    windows: Windows,
) -> Tensor:
    """(slices, 1 + classes, rows, columns) probabilities."""
    rows, columns = stack[0].shape[:2]
    if windows.tile is None or (rows <= windows.tile and columns <= windows.tile):
        return _mirrored(model, stack, pixel, windows)
    total: Tensor | None = None
    weights = torch.zeros(rows, columns, device=model.device)
    for top in _starts(rows, windows):
        for left in _starts(columns, windows):
            part = (slice(top, top + windows.tile), slice(left, left + windows.tile))
            found = _mirrored(model, [one[part] for one in stack], pixel, windows)
            weight = _weights(found.shape[-2:]).to(model.device)
            if total is None:
                total = found.new_zeros(*found.shape[:2], rows, columns)
            total[(..., *part)] += found * weight
            weights[part] += weight
    assert total is not None
    total /= weights
    return total


def _starts(length: int, windows: Windows) -> list[int]:
    """Where windows begin along one side; the last one ends with it."""
    assert windows.tile is not None
    step = max(1, round(windows.tile * (1 - windows.overlap)))
    last = max(0, length - windows.tile)
    return [*range(0, last, step), last]


def _weights(shape: Sequence[int]) -> Tensor:
    """How much a window counts: most in its middle, little at its edges (a product of triangles)."""
    sides = [
        1 - (torch.arange(n) + 0.5 - n / 2).abs() / (n / 2) * (1 - 1 / max(2, n)) for n in shape
    ]
    return sides[0][:, None] * sides[1]


def _mirrored(
    model: ClassModel,
    stack: list[NDArray[np.uint8]],
    pixel: tuple[float, float],
    windows: Windows,
) -> Tensor:
    """The probabilities of whole slices, maybe the mean over mirror images."""
    total: Tensor | None = None
    flips = _flips(windows)
    for axes in flips:
        turned = [np.ascontiguousarray(np.flip(one, axes)) for one in stack]
        found = model.on_slices(turned, pixel).softmax(1).flip([axis + 2 for axis in axes])
        total = found if total is None else total + found
    assert total is not None
    return total / len(flips)
