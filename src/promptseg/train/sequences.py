"""Clips to learn from: neighbouring slices of a volume, or frames of a video, with objects by name.

A collection keeps single 2D images; case and slice index say which of them are neighbours, and the name
of its class says which object is which.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.datasets.collection import Collection, Sample, Target, masks_of
from promptseg.errors import PromptsegError
from promptseg.models.cards import ModelCard
from promptseg.simulate.seeds import generator
from promptseg.train.augment import augment
from promptseg.train.objectives import ClipBatch
from promptseg.train.raster import raster
from promptseg.train.samples import Examples, Place, whole_or_error

__all__ = [
    "Clip",
    "ClipExample",
    "Run",
    "TrainingClips",
    "clip_from",
    "masks_along",
    "neighbours",
    "propagatable",
    "runs_of",
]

Clip = tuple[Sample, ...]
"""Neighbours in their order."""


def propagatable(clip: Clip) -> tuple[str, ...]:
    """Return the names of objects on a clip's first frame that occur on no frame more than once."""
    counts = [Counter(t.name for t in sample.targets) for sample in clip]
    return tuple(
        name for name in sorted(counts[0] if clip else ()) if all(c[name] < 2 for c in counts)
    )


@dataclass(frozen=True)
class Run:
    """Pictures of one case, each the neighbour of the next.

    Attributes:
        samples: two at least.
        frames: of a clip, at most.
    """

    samples: Clip
    frames: int

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Return the places where a clip with objects to propagate can begin."""
        last = max(0, len(self.samples) - self.frames)
        return tuple(k for k in range(last + 1) if propagatable(self.clip(k)))

    def clip(self, start: int) -> Clip:
        """Return the clip that begins with a sample."""
        return self.samples[start : start + self.frames]


def runs_of(samples: Iterable[Sample], frames: int) -> list[Run]:
    """Return the runs of neighbouring slices among some samples, in order of their cases.

    The least distance of two 2D images of a case is that of neighbours (`--every-slice`); where it is
    twice as large, something is missing, and another run begins. Tiles of a slide are no neighbours.

    Args:
        samples: of one part of a collection.
        frames: of a clip, at most.

    Returns:
        Those with objects to propagate.
    """
    runs = [Run(tuple(row), frames) for row in neighbours(samples) if len(row) > 1]
    return [run for run in runs if run.starts]


def neighbours(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Return runs as `runs_of` does, whatever is on them; samples without a neighbour stand alone."""
    cases: dict[tuple[str, str], list[tuple[int, Sample]]] = defaultdict(list)
    for sample in samples:
        if sample.slice is not None and sample.modality != "pathology":
            cases[sample.dataset, sample.case].append((sample.slice, sample))
    found = []
    for _, placed in sorted(cases.items()):
        placed.sort(key=lambda one: one[0])
        pairs = list(pairwise(placed))
        step = min((b[0] - a[0] for a, b in pairs), default=1)
        rows = [[placed[0][1]]]
        for (i, one), (k, other) in pairs:
            alike = (one.shape, one.pixel) == (other.shape, other.pixel)
            if not (alike and k - i < 2 * step):
                rows.append([])
            rows[-1].append(other)
        found += rows
    return found


def clip_from(sample: Sample, runs: Iterable[Run]) -> Clip:
    """Return the clip that begins with a sample, towards the end of its run that is farther away.

    Returns:
        No more than the sample's key says; empty where it has no neighbour, or nothing to propagate.
    """
    for run in runs:
        keys = [one.key for one in run.samples]
        if sample.key in keys:
            at = keys.index(sample.key)
            up = run.samples[at : at + run.frames]
            down = run.samples[max(0, at + 1 - run.frames) : at + 1][::-1]
            clip = up if len(up) >= len(down) else down
            return clip if propagatable(clip) else ()
    return ()


def masks_along(
    clip: Clip, names: Sequence[str], labels: Sequence[NDArray[np.uint16]]
) -> NDArray[np.bool_]:
    """Return (objects, T, rows, columns) masks of objects through a clip; empty where one is not there.

    Args:
        clip: T samples.
        names: of the objects.
        labels: (layers, rows, columns) of each sample.
    """
    masks = np.zeros((len(names), len(clip), *clip[0].shape), dtype=bool)
    for k, (sample, layers) in enumerate(zip(clip, labels, strict=True)):
        found: dict[str, Target] = {t.name: t for t in sample.targets}
        for number, name in enumerate(names):
            if name in found:
                (masks[number, k],) = masks_of([found[name]], layers)
    return masks


@dataclass(frozen=True)
class ClipExample:
    """One clip with some of its objects; see `ClipBatch`.

    Attributes:
        slices: (T, 3, S, S); None where embeddings are kept.
        embeddings: (T, C, h, w); None where they are not.
        masks: (n, T, R, R).
        names: of the objects.
    """

    slices: Tensor | None
    embeddings: Tensor | None
    masks: Tensor
    names: tuple[tuple[str, ...], ...]


class TrainingClips(Examples[ClipExample]):
    """The training part of a collection as clips, one of each run an epoch; see `TrainingImages`.

    Args:
        collection: the data.
        runs: of its training part.
        card: of the model: how slices become its input.
        grid: cells along each side of the logits.
        n_objects: objects per clip, at most.
        seed: of the training.
        augmented: whether clips are changed by chance, all frames alike; one of two runs backwards.
        embedding: sample -> its embedding, where they are kept.
        turns: whether one of two runs backwards in any case.
    """

    def __init__(
        self,
        collection: Collection,
        runs: Sequence[Run],
        card: ModelCard,
        grid: int,
        n_objects: int,
        seed: int,
        augmented: bool = False,
        embedding: Callable[[Sample], Tensor] | None = None,
        turns: bool = False,
    ) -> None:
        self.collection, self.runs, self.card = collection, runs, card
        self.grid, self.n_objects, self.seed = grid, n_objects, seed
        self.augmented, self.embedding = augmented, embedding
        self.turns = turns or augmented

    def __len__(self) -> int:
        return len(self.runs)

    def objects(self, place: Place) -> int:
        """Tell how many objects the clip of a place comes with."""
        return len(self.drawn(place)[1])

    def drawn(self, place: Place) -> tuple[Clip, list[str]]:
        """Draw the clip of a place, and the names of its objects, each as likely as any other."""
        run, rng = self.runs[place[2]], self._chance("clip", place)
        clip = run.clip(run.starts[int(rng.integers(len(run.starts)))])
        backwards = clip[::-1]
        if self.turns and rng.integers(2) and propagatable(backwards):
            clip = backwards
        names = propagatable(clip)
        chosen = rng.permutation(len(names))[: self.n_objects]
        return clip, [names[k] for k in sorted(chosen)]

    def example(self, place: Place) -> ClipExample:
        """Return the clip of a place.

        Raises:
            InputError: it cannot be read.
        """
        clip, names = self.drawn(place)
        read = [self.collection.read(sample, self.card.keep_8bit) for sample in clip]
        along = masks_along(clip, names, [labels for _, labels in read])
        slices: list[Tensor] = []
        embeddings: list[Tensor] = []
        masks = []
        for k, (picture, _) in enumerate(read):
            shown, pixel = along[:, k], clip[0].pixel
            if self.augmented:
                chance = self._chance("change", place)  # anew: the same for all frames
                picture, shown, turned = augment(picture, shown, chance)
                pixel = pixel[::-1] if turned else pixel
            if self.embedding is None:
                values, transform = self.card.preprocessing.apply(picture, pixel)
                slices.append(torch.from_numpy(values))
            else:
                transform = self.card.preprocessing.input_transform(
                    picture.shape[0], picture.shape[1], pixel
                )
                embeddings.append(self.embedding(clip[k]))
            masks.append(np.stack([raster(mask, transform, self.grid) for mask in shown]))
        where = (clip[0].key, str(place[1]))
        return ClipExample(
            torch.stack(slices) if slices else None,
            torch.stack(embeddings) if embeddings else None,
            torch.from_numpy(np.stack(masks, axis=1)),
            tuple((where[0], name, where[1]) for name in names),
        )

    @staticmethod
    def join(examples: Sequence[ClipExample | PromptsegError]) -> ClipBatch | PromptsegError:
        """Join some clips into a batch, in their order, or return the first error among them."""
        whole = whole_or_error(examples)
        if isinstance(whole, PromptsegError):
            return whole
        ends = np.cumsum([0, *(e.masks.shape[1] for e in whole)])
        slices = [e.slices for e in whole if e.slices is not None]
        embeddings = [e.embeddings for e in whole if e.embeddings is not None]
        return ClipBatch(
            slices=torch.cat(slices) if slices else None,
            embeddings=torch.cat(embeddings) if embeddings else None,
            masks=tuple(mask for e in whole for mask in e.masks),
            first=tuple(int(end) for end, e in zip(ends, whole, strict=False) for _ in e.masks),
            names=tuple(name for e in whole for name in e.names),
        )

    def _chance(self, what: str, place: Place) -> np.random.Generator:
        update, position, number = place
        return generator(self.seed, what, update, position, self.runs[number].samples[0].key)
