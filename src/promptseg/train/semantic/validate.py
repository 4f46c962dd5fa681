"""Validation of a model of classes on some samples: one DSC per class that is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from promptseg.datasets.collection import Collection, Sample
from promptseg.metrics.overlap import count
from promptseg.segment.classes.windows import ClassModel, Windows, probabilities
from promptseg.train.semantic.classes import class_map
from promptseg.train.sequences import Run
from promptseg.train.validate import CLASSES, Answer, Validation

__all__ = ["validate_classes"]

Map = NDArray[np.int64]


def validate_classes(
    model: ClassModel,
    collection: Collection,
    samples: Sequence[Sample],
    runs: Sequence[Run] = (),
    kept: Callable[[Sample], Tensor] | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> Validation:
    """Classify samples, and compare.

    A class is scored where it is in the truth, as the paper does. Images are scored one by one, runs
    of slices as a whole.

    Args:
        model: the model.
        collection: where the samples are from.
        samples: what it is asked about.
        runs: of slices that make up the samples, for a model of volumes; none for one of images.
        kept: sample -> its (C, h, w) embedding, where the encoder has made it before.
        progress: told the samples done and the present one.

    Raises:
        InputError: a sample that cannot be read.
    """
    found = Validation()
    done = 0
    for sample, truth, classes in (
        _of_runs(model, collection, samples, runs, kept)
        if runs
        else _of_images(model, collection, samples, kept)
    ):
        if progress:
            progress(done, sample.key)
        done += len(truth) if truth.ndim == 3 else 1
        about = (sample.key, sample.dataset, sample.modality, sample.patient)
        for number, name in enumerate(model.classes, 1):
            there = truth == number
            if there.any():
                dsc = count(there, classes == number).dsc
                found.answers.append(Answer(*about, name, CLASSES, 0, dsc, math.nan))
    if progress:
        progress(len(samples), "")
    return found


def _of_images(
    model: ClassModel,
    collection: Collection,
    samples: Sequence[Sample],
    kept: Callable[[Sample], Tensor] | None,
) -> Iterator[tuple[Sample, Map, Map]]:
    """Sample, true classes and those that are found, (rows, columns)."""
    for sample in samples:
        picture, labels = collection.read(sample, model.card.sam.keep_8bit)
        if kept is None:
            logits = model.on_slices([picture], sample.pixel)[0]
        else:
            transform = model.preprocessing.input_transform(*sample.shape, sample.pixel)
            logits = model.of_embeddings(kept(sample)[None], transform)[0]
        truth = class_map(sample.targets, labels, model.classes)
        yield sample, truth, logits.argmax(0).cpu().numpy()


def _of_runs(
    model: ClassModel,
    collection: Collection,
    samples: Sequence[Sample],
    runs: Sequence[Run],
    kept: Callable[[Sample], Tensor] | None,
) -> Iterator[tuple[Sample, Map, Map]]:
    """First sample of a run, true classes and those that are found, (slices, rows, columns)."""
    keys = {sample.key for sample in samples}
    for run in runs:
        own = run.samples
        if own[0].key not in keys:
            continue
        read = [collection.read(sample, model.card.sam.keep_8bit) for sample in own]
        truth = [
            class_map(s.targets, labels, model.classes)
            for s, (_, labels) in zip(own, read, strict=True)
        ]
        pictures = [picture for picture, _ in read]
        embedded = None if kept is None else [kept(sample) for sample in own]
        chances = probabilities(
            model, pictures.__getitem__, range(len(own)), own[0].pixel, Windows(), embedded
        )
        found = [chance.argmax(0).cpu().numpy() for _, chance in chances]
        yield own[0], np.stack(truth), np.stack(found)
