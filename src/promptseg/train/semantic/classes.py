"""Classes that a training learns, and where they are on a sample."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Labels, Sample, Target
from promptseg.errors import InputError, did_you_mean

__all__ = ["class_map", "class_weights", "classes_of", "hidden", "warn_of_hidden"]

log = logging.getLogger("promptseg")

_LOOKED_AT = 500
_MOST = 0.5  # of the pixels of a class on an image


def classes_of(
    train: Sequence[Sample], others: Sequence[Sample], wanted: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the names of the classes, in the order of their numbers in the data, then of their names.

    Their numbers among themselves have no gaps, whatever those in the data have.

    Args:
        train: what is learnt from.
        others: what is validated and reported on.
        wanted: the user's choice; all there are if none.

    Raises:
        InputError: a class that the training part does not have.
    """
    numbers: dict[str, int] = {}
    for sample in train:
        for target in sample.targets:
            numbers[target.name] = min(target.id, numbers.get(target.name, target.id))
    there = sorted(numbers, key=lambda name: (numbers[name], name))
    if unknown := [name for name in wanted if name not in numbers]:
        raise InputError(
            f"classes out of {_listed(there)}",
            unknown[0],
            did_you_mean(unknown[0], there) or "correct --classes",
        )
    if wanted:
        return tuple(name for name in there if name in set(wanted))
    for sample in others:
        if strange := [t.name for t in sample.targets if t.name not in numbers]:
            raise InputError(
                f"the classes of the training part, {_listed(there)}, in every case",
                f"{strange[0]!r} on {sample.key}",
                "name classes alike and curate the data again, or choose some with --classes",
            )
    return tuple(there)


def class_map(targets: Sequence[Target], labels: Labels, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the class of every pixel, 0 for none; where objects overlap, that of the smaller one.

    The smaller one, because what lies within another would be lost whole; of two of one size, that of
    the last layer counts.

    Args:
        targets: of a sample.
        labels: (layers, rows, columns) of it.
        names: of the classes.
    """
    numbers = {name: k for k, name in enumerate(names, 1)}
    areas = [np.bincount(layer.ravel()) for layer in labels]

    def area(target: Target) -> int:
        own = areas[target.layer]
        return int(own[target.id]) if target.id < len(own) else 0

    found = np.zeros(labels.shape[1:], np.int64)
    for target in sorted(targets, key=lambda t: (-area(t), t.layer, t.id)):
        if target.name in numbers:
            found[labels[target.layer] == target.id] = numbers[target.name]
    return found


def hidden(targets: Sequence[Target], labels: Labels, names: Sequence[str]) -> dict[str, float]:
    """Return the part of its pixels, 0..1, that each class of a sample loses to objects of others.

    Args:
        targets: of a sample.
        labels: (layers, rows, columns) of it.
        names: of the classes.
    """
    shown = class_map(targets, labels, names)
    lost = {}
    for number, name in enumerate(names, 1):
        own = [labels[t.layer] == t.id for t in targets if t.name == name]
        there = np.logical_or.reduce(own) if own else np.zeros(0, bool)
        if there.any():
            lost[name] = 1 - float((shown == number).sum()) / int(there.sum())
    return lost


def warn_of_hidden(
    collection: Collection, samples: Sequence[Sample], names: Sequence[str]
) -> dict[str, list[str]]:
    """Tell the user of classes that lose most of their pixels on an image to objects of others, which a
    model of one class for each pixel cannot learn there.

    Args:
        collection: where the samples are from.
        samples: of all parts; those whose objects overlap are read, `_LOOKED_AT` of them at most.
        names: of the classes.

    Returns:
        Class -> keys of the samples on which it loses more than half.

    Raises:
        InputError: a sample that cannot be read.
    """
    each = {sample.key: sample for sample in samples}.values()
    layered = [s for s in each if any(t.layer for t in s.targets)]
    places = np.linspace(0, len(layered) - 1, min(len(layered), _LOOKED_AT)).astype(int)
    found: dict[str, list[str]] = {}
    for sample in (layered[k] for k in places):
        _, labels = collection.read(sample)
        for name, share in hidden(sample.targets, labels, names).items():
            if share > _MOST:
                found.setdefault(name, []).append(sample.key)
    for name, keys in found.items():
        log.warning(
            "%r loses most of its pixels to smaller objects on %d of %d images with objects that "
            "overlap (%s): a pixel has one class; promptseg train words learns each whole, and "
            "--classes chooses some",
            name,
            len(keys),
            len(places),
            f"{keys[0]}, ..." if len(keys) > 1 else keys[0],
        )
    return found


def class_weights(samples: Sequence[Sample], names: Sequence[str]) -> list[float]:
    """Return the weights of background and classes: 1 / root of their share of pixels, with mean 1.

    The root, because the inverse share itself gives a class of a few pixels hundreds of times the
    weight of the others, and its edges are lost. A class counts on the images that it is on.

    Args:
        samples: the training part.
        names: of the classes.
    """
    numbers = {name: k for k, name in enumerate(names, 1)}
    pixels = np.zeros(len(names) + 1)
    for sample in samples:
        taken = 0
        for target in sample.targets:
            if target.name in numbers:
                pixels[numbers[target.name]] += target.area
                taken += target.area
        pixels[0] += max(0, sample.shape[0] * sample.shape[1] - taken)
    rare = 1 / np.sqrt(np.maximum(pixels / pixels.sum(), 1e-9))
    return [float(w) for w in rare / rare.mean()]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
