"""Reading samples of a collection: whether they agree with its index, and what they look like."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from promptseg.datasets.collection import Collection, Labels, Sample
from promptseg.datasets.manifest import perceptual_hashes
from promptseg.errors import InputError
from promptseg.image import Image
from promptseg.models.cards import ModelCard
from promptseg.progress import step_progress

__all__ = ["Damage", "Pixels", "read_pixels"]

_TIMED = 20  # samples that preprocessing is timed on


class Damage(NamedTuple):
    """A sample that cannot be trained on.

    Attributes:
        key: of the sample.
        shard: its ZIP file.
        reason: what is wrong.
    """

    key: str
    shard: str
    reason: str


@dataclass
class Pixels:
    """Findings in the pixels of samples: hashes, damage, and how long reading takes.

    Attributes:
        sha256: key of a sound sample -> of its shape and pixels.
        phash: key -> 64 hex digits; empty for a 2D image of one value.
        damaged: samples that cannot be used.
        read_seconds: of one sample, with its preprocessing, by one process.
    """

    sha256: dict[str, str] = field(default_factory=dict)
    phash: dict[str, str] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    read_seconds: float = 0.0


def read_pixels(
    collection: Collection, samples: Sequence[Sample], card: ModelCard, quiet: bool
) -> Pixels:
    """Read samples.

    Args:
        collection: they are of.
        samples: which ones.
        card: of the model, whose preprocessing is timed.
        quiet: no progress.
    """
    found = Pixels()
    reading = preparing = 0.0
    with step_progress("reading samples", len(samples), quiet) as step:
        for number, sample in enumerate(samples):
            step(number, sample.dataset)
            start = time.perf_counter()
            try:
                picture, labels = collection.read(sample, card.keep_8bit)
            except InputError as error:
                found.damaged.append(Damage(sample.key, sample.shard, error.got))
                continue
            reading += time.perf_counter() - start
            if reason := _disagreement(sample, picture.shape[:2], labels):
                found.damaged.append(Damage(sample.key, sample.shard, reason))
                continue
            found.sha256[sample.key] = hashlib.sha256(
                repr(picture.shape).encode() + picture.tobytes()
            ).hexdigest()
            found.phash[sample.key] = "".join(perceptual_hashes(Image.from_array(picture)))
            if len(found.sha256) <= _TIMED:
                start = time.perf_counter()
                card.preprocessing.apply(picture, sample.pixel)
                preparing += time.perf_counter() - start
    sound = len(found.sha256)
    found.read_seconds = reading / max(sound, 1) + preparing / max(min(sound, _TIMED), 1)
    return found


def _disagreement(sample: Sample, shape: tuple[int, ...], labels: Labels) -> str:
    """Where the pixels of a sample are others than its index says; nothing if they agree."""
    if tuple(shape) != tuple(sample.shape) or labels.shape[1:] != tuple(sample.shape):
        return f"{shape} pixels and {labels.shape} labels, not {tuple(sample.shape)}"
    if not sample.targets and not sample.absent:
        return "no targets"
    places = [ndimage.find_objects(layer) for layer in labels]
    areas = [np.bincount(layer.ravel()) for layer in labels]
    for target in sample.targets:
        where = f"target {target.id} ({target.name})"
        if target.layer >= len(labels) or target.id >= len(areas[target.layer]):
            return f"{where} is not in its labels"
        place = places[target.layer][target.id - 1]
        if place is None or areas[target.layer][target.id] != target.area:
            return f"{where} has another area than {target.area}"
        rows, columns = place
        if (columns.start, rows.start, columns.stop - 1, rows.stop - 1) != tuple(target.box):
            return f"{where} has another box than {tuple(target.box)}"
    return ""
