"""Training images of words: what is on each, what is not, and pieces cut out around and beside it.

A model that has seen one dataset a word may learn to know the dataset in place of the thing. So images
are cut: pieces without the thing, and pieces as large with it, both from the same image. What a
dataset does not label is not known to be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.datasets.collection import Collection, Sample
from promptseg.models.families.words.vocabulary import Vocabulary
from promptseg.terms.phrases import class_word

__all__ = ["SIDE", "WordImage", "cut_out", "framed", "named_places", "whole_image"]

SIDE = 256
"""Of the grid of masks, over the whole input."""

_TRIES = 40
_SMALLEST = 32  # pixels
_COVER = 0.1  # of a piece that is to show the thing, at least
_FEWEST = 12  # pixels of an object, below which it does not count


@dataclass(frozen=True, eq=False)
class WordImage:
    """One image, or a piece of one.

    Attributes:
        key: unique.
        dataset, patient, modality: as in the collection.
        picture: (rows, columns[, 3]) uint8.
        labels: (layers, rows, columns) uint8: place in the vocabulary from 1; 0 is none of these words.
            Words that share a pixel, one within another, are in layers of their own. An array of
            (rows, columns) is one layer.
        objects: (layers, rows, columns) uint16: number of the object, in any order.
        known: places in the vocabulary, from 0, that the dataset labels.
        pixel: width and height of a pixel.
        kind: "whole", "empty", "with" or "without": a piece with the thing or without it.
    """

    key: str
    dataset: str
    patient: str
    modality: str
    picture: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    objects: NDArray[np.uint16]
    known: tuple[int, ...]
    pixel: tuple[float, float] = (1.0, 1.0)
    kind: str = "whole"
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("labels", "objects"):
            values = getattr(self, name)
            object.__setattr__(self, name, values if values.ndim == 3 else values[None])

    @property
    def size(self) -> tuple[int, int]:
        """Return (rows, columns)."""
        return self.labels.shape[1], self.labels.shape[2]

    def mask(self, word: int) -> NDArray[np.bool_]:
        """Return the (rows, columns) mask of a word, by its place in the vocabulary."""
        found: NDArray[np.bool_] = (self.labels == word + 1).any(0)
        return found


def named_places(samples: Iterable[Sample], words: Vocabulary) -> dict[str, int]:
    """Return the places in a vocabulary of the classes of samples that it knows by their names."""
    names = dict.fromkeys(target.name for sample in samples for target in sample.targets)
    found = {name: words.known(class_word(name)) for name in names}
    return {name: words.index(concept) for name, concept in found.items() if concept is not None}


def whole_image(
    collection: Collection, sample: Sample, places: Mapping[str, int], known: Sequence[int]
) -> WordImage:
    """Read a sample of a collection, its classes as words.

    Args:
        collection: where it is from.
        sample: one of it.
        places: class -> its word's place in the vocabulary; other classes are left out.
        known: places of the words that its dataset labels.
    """
    from scipy import ndimage

    picture, layers = collection.read(sample)
    drawn = [_Layer.empty(sample.shape)]
    number = 0
    for target in sample.targets:
        if (place := places.get(target.name)) is None:
            continue
        mask = layers[target.layer] == target.id
        parts, count = ndimage.label(mask)
        layer = next((one for one in drawn if one.has_room(mask, place + 1)), None)
        if layer is None:
            drawn.append(layer := _Layer.empty(sample.shape))
        layer.labels[mask] = place + 1
        layer.objects[mask] = parts[mask] + number
        number += count
    return WordImage(
        sample.key,
        sample.dataset,
        patient=sample.patient,
        modality=sample.modality,
        picture=picture,
        labels=np.stack([layer.labels for layer in drawn]),
        objects=np.stack([layer.objects for layer in drawn]),
        known=tuple(known),
        pixel=sample.pixel,
    )


class _Layer(NamedTuple):
    labels: NDArray[np.uint8]
    objects: NDArray[np.uint16]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> _Layer:
        return cls(np.zeros(shape, np.uint8), np.zeros(shape, np.uint16))

    def has_room(self, mask: NDArray[np.bool_], label: int) -> bool:
        """Whether a mask would cover no other word."""
        below = self.labels[mask]
        return bool(((below == 0) | (below == label)).all())


def cut_out(image: WordImage, word: int, count: int, seed: int) -> Iterator[WordImage]:
    """Yield pieces of an image without a thing, and as many of the same sizes with it.

    Args:
        image: the whole.
        word: its place in the vocabulary.
        count: of either, at most; an image that the thing fills gives fewer.
        seed: of sizes and places.
    """
    chance = np.random.default_rng([seed, *image.key.encode()])
    rows, columns = image.size
    there = image.mask(word)
    table = np.pad(there.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    for n in range(count):
        without = None
        for _ in range(_TRIES):
            height, width = (
                max(_SMALLEST, int(side * chance.uniform(0.3, 0.6))) for side in (rows, columns)
            )
            if height >= rows or width >= columns:
                continue
            top = int(chance.integers(rows - height))
            left = int(chance.integers(columns - width))
            place = (top, left, height, width)
            if not _inside(table, place):
                piece = _piece(image, place, f"without {n}", "without")
                if without is None or piece.picture.std() > without[1].picture.std():
                    without = place, piece
        if without is None:
            continue
        height, width = without[0][2:]
        best = max(
            (
                (int(chance.integers(rows - height)), int(chance.integers(columns - width)))
                for _ in range(_TRIES)
            ),
            key=lambda at: min(_inside(table, (*at, height, width)), _COVER * 3 * height * width),
        )
        place = (*best, height, width)
        if _inside(table, place) >= min(_COVER * height * width, 0.5 * there.sum()):
            yield without[1]
            yield _piece(image, place, f"with {n}", "with")


def _inside(table: NDArray[np.int64], place: tuple[int, int, int, int]) -> int:
    top, left, height, width = place
    low, right = top + height, left + width
    return int(table[low, right] - table[top, right] - table[low, left] + table[top, left])


def _piece(image: WordImage, place: tuple[int, int, int, int], name: str, kind: str) -> WordImage:
    top, left, height, width = place
    at = np.s_[top : top + height, left : left + width]
    labels, objects = image.labels[:, *at], image.objects[:, *at]
    seen = [n for n, layer in enumerate(labels) if layer.any()] or [0]
    return WordImage(
        f"{image.key}#{name}",
        image.dataset,
        patient=image.patient,
        modality=image.modality,
        picture=np.ascontiguousarray(image.picture[at]),
        labels=labels[seen],
        objects=objects[seen],
        known=image.known,
        pixel=image.pixel,
        kind=kind,
    )


def framed(
    image: WordImage, resized: tuple[int, int], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[int, int]]:
    """Return labels of an image on the grid of masks, depths in objects, and the image's extent.

    Args:
        image: the image.
        resized: (rows, columns) it takes in the input.
        size: of the input.

    Returns:
        (layers, SIDE, SIDE) labels; (layers, SIDE, SIDE) how deep in its object a pixel lies, 255 at
        the deepest; and the (rows, columns) that the image takes.
    """
    rows, columns = (max(1, round(side * SIDE / size)) for side in resized)
    labels, deep = np.zeros((2, len(image.labels), SIDE, SIDE), np.uint8)
    for n, layer in enumerate(image.labels):
        labels[n, :rows, :columns] = _small(layer, rows, columns)
        deep[n, :rows, :columns] = _depths(_small(image.objects[n], rows, columns))
    return labels, deep, (rows, columns)


def _small(values: NDArray[Any], rows: int, columns: int) -> NDArray[np.int32]:
    from PIL import Image as PilImage

    whole = PilImage.fromarray(values.astype(np.int32))
    return np.asarray(whole.resize((columns, rows), PilImage.Resampling.NEAREST))


def _depths(numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    """How deep in its object each pixel lies, 255 at the deepest, of (rows, columns) objects."""
    from scipy import ndimage

    rows, columns = numbers.shape
    deep = np.zeros((rows, columns), np.uint8)
    objects = np.pad(numbers, 1)  # what the border cuts ends there
    for number, at in enumerate(ndimage.find_objects(objects), 1):
        if at is None:
            continue
        around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in at)
        mask = objects[around] == number
        distance = ndimage.distance_transform_edt(mask)
        share = (255 * distance / distance.max()).astype(np.uint8)
        low = [s.start - 1 for s in around]
        r0, c0 = max(0, low[0]), max(0, low[1])
        r1, c1 = min(rows, low[0] + mask.shape[0]), min(columns, low[1] + mask.shape[1])
        cut = share[r0 - low[0] : r1 - low[0], c0 - low[1] : c1 - low[1]]
        deep[r0:r1, c0:c1] = np.maximum(deep[r0:r1, c0:c1], cut)
    return deep
