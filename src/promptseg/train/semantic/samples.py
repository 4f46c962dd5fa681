"""Images and stacks with the class of every pixel, as the network takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.datasets.collection import Collection, Sample
from promptseg.errors import PromptsegError
from promptseg.models.preprocess import Preprocessing
from promptseg.simulate.seeds import generator
from promptseg.train.augment import augment
from promptseg.train.raster import raster_classes
from promptseg.train.samples import Examples, Place, whole_or_error
from promptseg.train.semantic.classes import class_map
from promptseg.train.sequences import Run

__all__ = ["ClassBatch", "Setting", "TrainingClasses", "TrainingStacks"]


@dataclass(frozen=True)
class ClassBatch:
    """B images, or B stacks of D slices.

    Attributes:
        slices: (B, 3, S, S), or (B, D, 3, S, S); None where the embeddings are there already.
        embeddings: (B, C, h, w), or (B, D, C, h, w); None before they are encoded.
        classes: (B, R, R), or (B, D, R, R): 0 for background, -1 where there is no image.
    """

    slices: Tensor | None
    embeddings: Tensor | None
    classes: Tensor

    def to(self, device: torch.device) -> ClassBatch:
        """Return the same batch on another device."""
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Setting:
    """Settings by which samples become the input of the network.

    Attributes:
        preprocessing: of the network.
        keep_8bit: as on the card of the model whose encoder it has.
        names: of the classes.
        grid: cells along each side of the grid for losses.
        seed: of the training.
        augmented: whether images are changed by chance.
        embedding: sample -> its embedding, where they are kept.
    """

    preprocessing: Preprocessing
    keep_8bit: bool
    names: tuple[str, ...]
    grid: int
    seed: int
    augmented: bool = False
    embedding: Callable[[Sample], Tensor] | None = None


class _Samples(Examples[ClassBatch]):
    """What both have in common; an example is a batch of one.

    Args:
        collection: the data.
        setting: how they are taken.
    """

    def __init__(self, collection: Collection, setting: Setting) -> None:
        self.collection, self.setting = collection, setting

    def objects(self, place: Place) -> int:
        """Of no matter: losses are of images."""
        return 1

    @staticmethod
    def join(examples: Sequence[ClassBatch | PromptsegError]) -> ClassBatch | PromptsegError:
        """A batch of some examples in their order, or the first error among them."""
        whole = whole_or_error(examples)
        if isinstance(whole, PromptsegError):
            return whole

        def joined(parts: list[Tensor | None]) -> Tensor | None:
            there = [part for part in parts if part is not None]
            return torch.cat(there) if there else None

        return ClassBatch(
            joined([e.slices for e in whole]),
            joined([e.embeddings for e in whole]),
            torch.cat([e.classes for e in whole]),
        )

    def _one(
        self, sample: Sample, chance: np.random.Generator | None
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.int64]]:
        """A slice as the network's input, unless it is kept encoded, and its classes on the grid."""
        how = self.setting
        picture, labels = self.collection.read(sample, how.keep_8bit)
        classes = class_map(sample.targets, labels, how.names)
        pixel = sample.pixel
        if chance is not None:
            picture, stack, turned = augment(picture, classes[None], chance)
            classes, pixel = stack[0], pixel[::-1] if turned else pixel
        rows, columns = picture.shape[:2]
        if how.embedding is None:
            values, transform = how.preprocessing.apply(picture, pixel)
            return values, raster_classes(classes, transform, how.grid)
        return None, raster_classes(
            classes, how.preprocessing.input_transform(rows, columns, pixel), how.grid
        )


class TrainingClasses(_Samples):
    """The training part of a collection, image by image.

    Args:
        collection: the data.
        samples: its training part.
        setting: how they are taken.
    """

    def __init__(self, collection: Collection, samples: Sequence[Sample], setting: Setting) -> None:
        super().__init__(collection, setting)
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def example(self, place: Place) -> ClassBatch:
        """Return the image of a place.

        Raises:
            InputError: it cannot be read.
        """
        update, position, number = place
        how, sample = self.setting, self.samples[number]
        chance = (
            generator(how.seed, "image", update, position, sample.key) if how.augmented else None
        )
        values, classes = self._one(sample, chance)
        return ClassBatch(
            None if values is None else torch.from_numpy(values)[None],
            how.embedding(sample)[None] if how.embedding else None,
            torch.from_numpy(classes)[None],
        )


class TrainingStacks(_Samples):
    """The training part of a collection as stacks of neighbouring slices, one of each run an epoch.

    A run shorter than a stack is continued by its last slices, which are learnt from once: where they
    are repeated, there is no class.

    Args:
        collection: the data.
        runs: of its training part.
        depth: slices of a stack.
        setting: how they are taken.
    """

    def __init__(
        self, collection: Collection, runs: Sequence[Run], depth: int, setting: Setting
    ) -> None:
        super().__init__(collection, setting)
        self.runs, self.depth = runs, depth

    def __len__(self) -> int:
        return len(self.runs)

    def drawn(self, place: Place) -> list[int]:
        """Draw the slices of its run that the stack of a place has; beyond its ends is nothing."""
        update, position, number = place
        samples = self.runs[number].samples
        spare = len(samples) - self.depth
        rng = generator(self.setting.seed, "stack", update, position, samples[0].key)
        first = int(rng.integers(spare + 1)) if spare > 0 else -(-spare // 2)
        return [*range(first, first + self.depth)]

    def example(self, place: Place) -> ClassBatch:
        """Return the stack of a place.

        Raises:
            InputError: it cannot be read.
        """
        how, samples = self.setting, self.runs[place[2]].samples
        slices, embeddings, classes = [], [], []
        for k in self.drawn(place):
            sample = samples[min(max(k, 0), len(samples) - 1)]
            key = samples[0].key  # the same for all slices
            chance = generator(how.seed, "change", *place[:2], key) if how.augmented else None
            values, there = self._one(sample, chance)
            if values is not None:
                slices.append(torch.from_numpy(values))
            if how.embedding:
                embeddings.append(how.embedding(sample))
            if not 0 <= k < len(samples):
                there = np.full_like(there, -1)
            classes.append(torch.from_numpy(there))
        return ClassBatch(
            torch.stack(slices)[None] if slices else None,
            torch.stack(embeddings)[None] if embeddings else None,
            torch.stack(classes)[None],
        )
