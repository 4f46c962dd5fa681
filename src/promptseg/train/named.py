"""Training images with phrases: for what is on them, and for what is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from promptseg.datasets.collection import Collection, Sample, Target, masks_of
from promptseg.errors import PromptsegError
from promptseg.models.cards import ModelCard
from promptseg.models.families.sam3.detect import VISUAL
from promptseg.prompts import box_of_mask
from promptseg.simulate.boxes import jittered_box
from promptseg.simulate.seeds import generator
from promptseg.terms.words import parts_of
from promptseg.train.augment import augment
from promptseg.train.objectives import WordBatch, WordObjective
from promptseg.train.raster import raster
from promptseg.train.samples import Examples, Place, whole_or_error
from promptseg.train.vocabulary import Vocabulary, named

__all__ = ["Asked", "TrainingPhrases", "WordExample"]

Tokenise = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class Asked:
    """A phrase that an image is asked for.

    Attributes:
        phrase: the words.
        targets: all that it names there; none where it names what is not there.
        example: which of them a box is drawn around, in place of the words; None for words.
    """

    phrase: str
    targets: tuple[Target, ...]
    example: int | None = None


@dataclass(frozen=True)
class WordExample:
    """One image with its phrases; see `WordBatch` for the fields.

    Attributes:
        slice_: (3, S, S).
        tokens: (p, L).
        examples: (p, 4).
        asked: (p,).
        boxes: (n, 4).
        masks: (n, R, R).
        phrase: (n,) within the image.
        name: of the image.
    """

    slice_: Tensor
    tokens: Tensor
    examples: Tensor
    asked: Tensor
    boxes: Tensor
    masks: Tensor
    phrase: Tensor
    name: tuple[str, ...]


class TrainingPhrases(Examples[WordExample]):
    """The training part of a collection with phrases; see `TrainingImages`.

    Args:
        collection: the data.
        samples: its training part.
        card: of the model: how slices become its input.
        grid: cells along each side of the grid for losses.
        objective: says how many phrases, and how they are asked.
        vocabulary: the names, and phrases for them.
        tokens: how words become numbers.
        seed: of the training.
        augmented: whether images are changed by chance; those of which a name says a side are not, as
            mirrors know no left and right.
    """

    def __init__(
        self,
        collection: Collection,
        samples: Sequence[Sample],
        card: ModelCard,
        grid: int,
        objective: WordObjective,
        vocabulary: Vocabulary,
        tokens: Tokenise,
        seed: int,
        augmented: bool = False,
    ) -> None:
        self.collection, self.samples, self.card = collection, samples, card
        self.grid, self.objective, self.seed = grid, objective, seed
        self.vocabulary, self.tokens, self.augmented = vocabulary, tokens, augmented

    def __len__(self) -> int:
        return len(self.samples)

    def objects(self, place: Place) -> int:
        """Tell how many phrases the image of a place comes with."""
        return len(self.drawn(place))

    def drawn(self, place: Place) -> list[Asked]:
        """Draw the phrases of a place, those of what is there first."""
        sample, chance = self.samples[place[2]], self._chance("phrases", place)
        objective, there = self.objective, named(sample)
        found = []
        for name in _some(list(there), objective.n_objects, chance):
            targets = tuple(there[name])
            phrase = self.vocabulary.phrase(name, chance)
            boxed, which = chance.random() < objective.p_box, int(chance.integers(len(targets)))
            found.append(Asked(VISUAL if boxed else phrase, targets, which if boxed else None))
        for name in _some(self.vocabulary.absent(sample), objective.n_absent, chance):
            found.append(Asked(self.vocabulary.phrase(name, chance), ()))
        return found

    def example(self, place: Place) -> WordExample:
        """Return the image of a place with its phrases.

        Raises:
            InputError: it cannot be read.
        """
        sample, asked = self.samples[place[2]], self.drawn(place)
        picture, labels = self.collection.read(sample, self.card.keep_8bit)
        targets = [target for one in asked for target in one.targets]
        masks, pixel = masks_of(targets, labels), sample.pixel
        if self.augmented and not any(parts_of(t.name).side for t in sample.targets):
            picture, masks, turned = augment(picture, masks, self._chance("change", place))
            pixel = pixel[::-1] if turned else pixel
        values, frame = self.card.preprocessing.apply(picture, pixel)
        chance = self._chance("example", place)
        boxes = [_parts(box_of_mask(mask), mask.shape) for mask in masks]
        examples = torch.zeros(len(asked), 4)
        first = 0
        for row, one in zip(examples, asked, strict=True):
            if one.example is not None:
                mask = masks[first + one.example]
                row[:] = _parts(jittered_box(mask, chance, self.objective.distortion), mask.shape)
            first += len(one.targets)
        counts = torch.tensor([len(one.targets) for one in asked])
        return WordExample(
            torch.from_numpy(values),
            self.tokens([one.phrase for one in asked]),
            examples=examples,
            asked=torch.tensor([one.example is not None for one in asked]),
            boxes=torch.stack(boxes) if boxes else torch.zeros(0, 4),
            masks=torch.from_numpy(
                np.stack([raster(mask, frame, self.grid) for mask in masks])
                if len(masks)
                else np.zeros((0, self.grid, self.grid), dtype=bool)
            ),
            phrase=torch.repeat_interleave(torch.arange(len(asked)), counts),
            name=(sample.key, str(place[1])),
        )

    @staticmethod
    def join(examples: Sequence[WordExample | PromptsegError]) -> WordBatch | PromptsegError:
        """Join some images into a batch, in their order, or return the first error among them."""
        whole = whole_or_error(examples)
        if isinstance(whole, PromptsegError):
            return whole
        counts = torch.tensor([len(e.tokens) for e in whole])
        starts = (counts.cumsum(0) - counts).tolist()
        return WordBatch(
            slices=torch.stack([e.slice_ for e in whole]),
            tokens=torch.cat([e.tokens for e in whole]),
            owner=torch.repeat_interleave(torch.arange(len(whole)), counts),
            examples=torch.cat([e.examples for e in whole]),
            asked=torch.cat([e.asked for e in whole]),
            boxes=torch.cat([e.boxes for e in whole]),
            masks=torch.cat([e.masks for e in whole]),
            phrase=torch.cat([e.phrase + start for e, start in zip(whole, starts, strict=True)]),
            names=tuple(e.name for e in whole),
        )

    def _chance(self, what: str, place: Place) -> np.random.Generator:
        update, position, number = place
        return generator(self.seed, what, update, position, self.samples[number].key)


def _some(names: Sequence[str], most: int, chance: np.random.Generator) -> list[str]:
    """At most so many names, each as likely as any other, in their order."""
    return [names[k] for k in sorted(chance.permutation(len(names))[:most])]


def _parts(box: Sequence[float] | None, shape: tuple[int, ...]) -> Tensor:
    """(4,) centre, width and height in parts of the slice, of a box with both ends inside."""
    assert box is not None, "an object has pixels"
    rows, columns = shape
    x0, y0, x1, y1 = box
    low, high = (x0 / columns, y0 / rows), ((x1 + 1) / columns, (y1 + 1) / rows)
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    return torch.tensor([*middle, high[0] - low[0], high[1] - low[1]], dtype=torch.float32)
