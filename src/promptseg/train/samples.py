"""Training images as the network takes them, one at a time and joined into batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from promptseg.datasets.collection import Collection, Sample, Target, masks_of
from promptseg.errors import PromptsegError
from promptseg.models.cards import ModelCard
from promptseg.prompts import box_of_mask
from promptseg.simulate.seeds import generator
from promptseg.train.augment import augment
from promptseg.train.objectives import Batch
from promptseg.train.raster import extent_on, raster

__all__ = [
    "Example",
    "Examples",
    "Place",
    "TrainingImages",
    "join",
    "join_or_error",
    "whole_or_error",
]

Place = tuple[int, int, int]
"""Update, position in its batch, number of the sample."""

E = TypeVar("E")


class Examples(Dataset[E | PromptsegError], ABC):
    """Examples of training, each named by its `Place`.

    One that cannot be read comes as its error: raised in a reading process, it loses its form.
    """

    def __getitem__(self, place: Place) -> E | PromptsegError:
        """The example of a place, or why there is none."""
        try:
            return self.example(place)
        except PromptsegError as error:
            return error

    @abstractmethod
    def example(self, place: Place) -> E:
        """Return the example of a place.

        Raises:
            InputError: it cannot be read.
        """


def whole_or_error(examples: Sequence[E | PromptsegError]) -> list[E] | PromptsegError:
    """Return all examples of a batch, or the first error among them."""
    whole: list[E] = []
    for example in examples:
        if isinstance(example, PromptsegError):
            return example
        whole.append(example)
    return whole


@dataclass(frozen=True)
class Example:
    """One image with some of its objects; see `Batch` for the fields.

    Attributes:
        place: of the image in the training.
        slice_: (3, S, S); None where there is an embedding.
        embedding: (C, h, w).
        masks: (n, R, R).
        boxes: (n, 4).
        extent: rows and columns of the grid that are image.
        union: (R, R).
        names: of the objects.
    """

    place: Place
    slice_: Tensor | None
    embedding: Tensor | None
    masks: Tensor
    boxes: Tensor
    extent: tuple[int, int]
    union: Tensor
    names: tuple[tuple[str, ...], ...]


class TrainingImages(Examples[Example]):
    """The training part of a collection.

    Args:
        collection: the data.
        samples: its training part.
        card: of the model: how slices become its input.
        grid: cells along each side of the grid for losses.
        n_objects: objects per image, at most.
        seed: of the training.
        augmented: whether images are changed by chance.
        embedding: sample -> its embedding, where they are kept.
    """

    def __init__(
        self,
        collection: Collection,
        samples: Sequence[Sample],
        card: ModelCard,
        grid: int,
        n_objects: int,
        seed: int,
        augmented: bool = False,
        embedding: Callable[[Sample], Tensor] | None = None,
    ) -> None:
        self.collection, self.samples, self.card = collection, samples, card
        self.grid, self.n_objects, self.seed = grid, n_objects, seed
        self.augmented, self.embedding = augmented, embedding

    def __len__(self) -> int:
        return len(self.samples)

    def objects(self, place: Place) -> int:
        """Tell how many objects the image of a place comes with."""
        return min(len(self.samples[place[2]].targets), self.n_objects)

    def example(self, place: Place) -> Example:
        """Return the image of a place, with objects chosen by chance, each as likely as any other.

        Raises:
            InputError: it cannot be read.
        """
        update, position, number = place
        sample = self.samples[number]
        rng = generator(self.seed, "image", update, position, sample.key)
        picture, labels = self.collection.read(sample, self.card.keep_8bit)
        chosen = self._choose(sample.targets, rng)
        masks = masks_of(chosen, labels)
        union: NDArray[np.bool_] = np.any(labels > 0, axis=0)
        pixel = sample.pixel
        if self.augmented:
            both = np.concatenate([masks, union[None]])
            picture, both, turned = augment(picture, both, rng)
            masks, union = both[:-1], both[-1]
            pixel = pixel[::-1] if turned else pixel
        values: NDArray[np.float32] | None = None
        if self.embedding:
            transform = self.card.preprocessing.input_transform(
                picture.shape[0], picture.shape[1], pixel
            )
        else:
            values, transform = self.card.preprocessing.apply(picture, pixel)
        boxes = np.array([box_of_mask(m) for m in masks], dtype=np.float64)
        return Example(
            place,
            slice_=None if values is None else torch.from_numpy(values),
            embedding=self.embedding(sample) if self.embedding else None,
            masks=torch.from_numpy(np.stack([raster(m, transform, self.grid) for m in masks])),
            boxes=torch.from_numpy(transform.scale_xy(boxes.reshape(-1, 2, 2)).reshape(-1, 4)),
            extent=extent_on(transform, self.grid),
            union=torch.from_numpy(raster(union, transform, self.grid)),
            names=tuple((sample.key, str((t.layer, t.id)), str(position)) for t in chosen),
        )

    @staticmethod
    def join(examples: Sequence[Example | PromptsegError]) -> Batch | PromptsegError:
        """See `join_or_error`."""
        return join_or_error(examples)

    def _choose(self, targets: Sequence[Target], rng: np.random.Generator) -> list[Target]:
        if len(targets) <= self.n_objects:
            return list(targets)
        numbers: NDArray[np.int64] = rng.choice(len(targets), self.n_objects, replace=False)
        return [targets[k] for k in sorted(numbers)]


def join_or_error(examples: Sequence[Example | PromptsegError]) -> Batch | PromptsegError:
    """Join some images into a batch, or return the first error among them."""
    whole = whole_or_error(examples)
    return whole if isinstance(whole, PromptsegError) else join(whole)


def join(examples: Sequence[Example]) -> Batch:
    """Join some images into a batch, in their order."""

    def stacked(parts: list[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.stack(there) if there else None

    counts = torch.tensor([len(e.masks) for e in examples])
    return Batch(
        slices=stacked([e.slice_ for e in examples]),
        embeddings=stacked([e.embedding for e in examples]),
        masks=torch.cat([e.masks for e in examples]),
        boxes=torch.cat([e.boxes for e in examples]),
        owner=torch.repeat_interleave(torch.arange(len(examples)), counts),
        extent=torch.tensor([e.extent for e in examples]),
        union=torch.stack([e.union for e in examples]),
        names=tuple(name for e in examples for name in e.names),
    )
