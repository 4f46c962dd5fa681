"""Models of a loop looking at images: their embeddings, doubts and proposals.

The model that every round starts from encodes each slice once, and keeps that. A version whose
encoder did not learn goes on from there; another one encodes for itself.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from promptseg.errors import InputError, PromptsegError
from promptseg.formats import read
from promptseg.image import Image, Segment
from promptseg.inference.embedded import EmbeddedImage
from promptseg.loop.options import Uncertainty
from promptseg.loop.pool import Entry
from promptseg.loop.uncertainty import click_doubt, entropy, jitter_doubt, mirror_doubt
from promptseg.models.protocol import Embedding, SlicePrompt
from promptseg.prompts import Box, Box3D, Points, place
from promptseg.segment.classes.segmenter import ClassSegmenter, load_classes
from promptseg.segment.classes.windows import Windows, probabilities
from promptseg.segment.opened import intensity_for, require_contrast
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter, load

__all__ = ["ClassVersion", "Looker", "PromptVersion", "Version"]

log = logging.getLogger("promptseg")

_NO_LIMIT = 1e6  # GiB
_NAMED = 3


@dataclass(frozen=True)
class Looker:
    """The model that every round starts from, and what it has encoded.

    Attributes:
        segmenter: the model, with its embeddings on disk.
        options: modality and window.
        slices: of a volume that are looked at.
    """

    segmenter: Segmenter
    options: SegmentOptions
    slices: int

    @classmethod
    def of(
        cls,
        model: str,
        embeddings: Path,
        options: SegmentOptions,
        slices: int,
        engine: str,
        device: str,
        quiet: bool,
    ) -> Looker:
        """Load the model.

        Raises:
            ModelError: unknown, or a checkpoint that cannot be used.
        """
        segmenter = load(
            model,
            device=device,
            engine=engine,
            quiet=quiet,
            embeddings=embeddings,
            embeddings_limit=_NO_LIMIT,
        )
        return cls(segmenter, options, slices)

    def read(self, entry: Entry) -> Image:
        """Read the image of an entry."""
        return read(entry.path, modality=self.options.modality)

    def open(self, image: Image) -> EmbeddedImage:
        """Open an image as the model sees it, without notes: curation gives those of all at once."""
        predictor = self.segmenter.predictor
        require_contrast(image)
        return EmbeddedImage(
            image,
            "z",
            intensity_for(predictor, image, self.options),
            predictor,
            store=self.segmenter.embeddings,
            asked=(self.options.modality, self.options.window),
        )

    def indices(self, count: int) -> list[int]:
        """Choose the slices to look at, evenly spread over `count`: the middles of equal parts."""
        n = min(self.slices, count)
        return [int((k + 0.5) * count / n) for k in range(n)]

    def features(self, entry: Entry) -> NDArray[np.float64]:
        """Compute the mean embedding, (C,), of the slices that are looked at."""
        opened = self.open(self.read(entry))
        means = [
            opened.embedding(k).view().float().mean((1, 2)).double().cpu().numpy()
            for k in self.indices(len(opened))
        ]
        found: NDArray[np.float64] = np.mean(means, axis=0)
        return found


class Version(ABC):
    """A model as one round left it.

    Args:
        looker: what it was trained from.
        uncertainty: how it is asked how sure it is.
        seed: of prompts that are moved.
        frozen: whether its encoder is that of the looker.
    """

    def __init__(self, looker: Looker, uncertainty: Uncertainty, seed: int, frozen: bool) -> None:
        self.looker, self.uncertainty = looker, uncertainty
        self.seed, self.frozen = seed, frozen

    @abstractmethod
    def doubt(self, entry: Entry) -> float:
        """Estimate how unsure this version is of an image, 0..1."""

    @abstractmethod
    def propose(self, entry: Entry) -> list[Segment]:
        """Segment an image by itself; nothing where the model would have to be asked by prompts."""

    def doubts(self, entries: Sequence[Entry]) -> NDArray[np.float64]:
        """Return the `doubt` of each image, (images,); NaN, with a note, where one cannot be used."""
        found, failed = [], []
        for entry in entries:
            try:
                found.append(self.doubt(entry))
            except PromptsegError as error:
                failed.append(f"{entry.name} ({error})")
                found.append(np.nan)
        if failed:
            log.warning("%d images cannot be used: %s", len(failed), "; ".join(failed[:_NAMED]))
        return np.array(found, np.float64)


class ClassVersion(Version):
    """A model of classes.

    Args:
        folder: of its training.
        device: where to run it.
        looker, uncertainty, seed, frozen: as of every version.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        looker: Looker,
        uncertainty: Uncertainty,
        seed: int,
        frozen: bool,
    ) -> None:
        self.segmenter: ClassSegmenter = load_classes(folder, device=device)
        card = self.segmenter.model.card
        own = card.side == card.sam.preprocessing.size and not card.adapters
        super().__init__(looker, uncertainty, seed, frozen and own and card.depth == 1)

    def doubt(self, entry: Entry) -> float:
        """Compute the mean entropy over the slices looked at, or the mean change in a mirror image."""
        opened = self.looker.open(self.looker.read(entry))
        mirrored = self.uncertainty == "mirror"
        doubts = []
        for index in self.looker.indices(len(opened)):
            (chances,) = self._chances(opened, [index])
            if mirrored:
                doubts.append(mirror_doubt(chances, self._mirror(opened, index)))
            else:
                doubts.append(entropy(chances))
        return float(np.mean(doubts))

    def propose(self, entry: Entry) -> list[Segment]:
        """Segment an image into the classes that are found."""
        image = self.looker.read(entry)
        with _without_notes():
            found = self.segmenter.segment(image, self.looker.options).result
        return [s for s in found.segments if not s.is_empty]

    def _chances(self, opened: EmbeddedImage, indices: Sequence[int]) -> Iterator[Tensor]:
        """(1 + classes, rows, columns) of some slices."""
        model = self.segmenter.model
        embedded = None
        if self.frozen:
            kept = [opened.embedding(k).tensors() for k in indices]
            embedded = [one["features"][0] for one in kept]
        found = probabilities(model, opened.pixels, indices, opened.pixel, Windows(), embedded)
        yield from (chances for _, chances in found)

    def _mirror(self, opened: EmbeddedImage, index: int) -> Tensor:
        """The same of the mirror image, turned back."""
        turned = np.ascontiguousarray(opened.pixels(index)[:, ::-1])
        logits = self.segmenter.model.on_slices([turned], opened.pixel)[0]
        return logits.softmax(0).flip(-1)


class PromptVersion(Version):
    """A model of prompts.

    Args:
        file: its weights; None for the looker itself.
        device: where to run it.
        looker, uncertainty, seed, frozen: as of every version.
    """

    def __init__(
        self,
        file: Path | None,
        device: str,
        looker: Looker,
        uncertainty: Uncertainty,
        seed: int,
        frozen: bool,
    ) -> None:
        super().__init__(looker, uncertainty, seed, frozen or file is None)
        self.segmenter = (
            looker.segmenter if file is None else load(str(file), device=device, engine="eager")
        )

    def doubt(self, entry: Entry) -> float:
        """Measure how much moved prompts change masks, or how low the predicted IoU of clicks is."""
        opened = self.looker.open(self.looker.read(entry))
        prompted = self.uncertainty != "predicted-iou" and entry.prompts
        if not prompted:
            self.require_clicks()
            doubts = [
                click_doubt(self.segmenter.predictor, self._embedding(opened, k), _shape(opened))
                for k in self.looker.indices(len(opened))
            ]
            return float(np.mean(doubts))
        doubts = []
        for index, prompts in _by_slice(entry, opened.image).items():
            embedding = self._embedding(opened, index)
            about = (self.seed, entry.name, index)
            predictor = self.segmenter.predictor
            doubts.append(jitter_doubt(predictor, embedding, prompts, _shape(opened), *about))
        return float(np.mean(doubts))

    def propose(self, entry: Entry) -> list[Segment]:
        """Segment the objects of the prompts that the list gives; nothing without any."""
        if not entry.prompts:
            return []
        image = self.looker.read(entry)
        with _without_notes():
            found = self.segmenter.segment(image, *entry.prompts, options=self.looker.options)
        return list(found.segments)

    def require_clicks(self) -> None:
        """Refuse a model that a grid of clicks says nothing of.

        Raises:
            InputError: it was not trained for clicks.
        """
        card = self.segmenter.predictor.card
        if "point" not in card.prompts:
            raise InputError(
                "a model that takes clicks, where no prompts are given to be moved",
                card.name,
                "give boxes in a list of images, use --strategy diversity, or another --model",
            )

    def _embedding(self, opened: EmbeddedImage, index: int) -> Embedding:
        """Of a slice, for this version's decoder."""
        predictor = self.segmenter.predictor
        if predictor is opened.predictor:
            return opened.embedding(index)
        if self.frozen:
            tensors = opened.embedding(index).tensors()
            return predictor.unpack(tensors, _shape(opened), opened.pixel)
        (embedding,) = predictor.encode([opened.pixels(index)], opened.pixel)
        return embedding


@contextmanager
def _without_notes() -> Iterator[None]:
    """Notes on single images are left to curation, which says each once."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _shape(opened: EmbeddedImage) -> tuple[int, int]:
    rows, columns = opened.image.slice(0, opened.axis).shape[:2]
    return rows, columns


def _by_slice(entry: Entry, image: Image) -> dict[int, list[SlicePrompt]]:
    """The prompts of an image by slice along z; of a box in space, its middle slice."""
    found: dict[int, list[SlicePrompt]] = {}
    for prompt in place(entry.prompts, image.geometry, "z"):
        if isinstance(prompt, Box3D):
            x0, y0, z0, x1, y1, z1 = prompt.bounds
            found.setdefault(round((z0 + z1) / 2), []).append(SlicePrompt((x0, y0, x1, y1)))
        elif isinstance(prompt, Box):
            found.setdefault(prompt.slice or 0, []).append(SlicePrompt.of(prompt))
        elif isinstance(prompt, Points):
            found.setdefault(prompt.slice or 0, []).append(SlicePrompt.of(None, prompt))
    return found
