"""A model that takes words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptseg.image import bounding_region
from promptseg.models.protocol.embedding import Embedding

__all__ = ["ClosedWords", "Findings", "Instance", "KnownWord", "Phrase", "WordModel"]

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Phrase:
    """Phrase or examples to look for on one slice.

    Attributes:
        text: a short noun phrase; empty where boxes say it all.
        boxes: (x0, y0, x1, y1) around examples of it, pixel indices with both ends inside.
        outside: as `boxes`, around what is not meant.
    """

    text: str = ""
    boxes: tuple[Bounds, ...] = ()
    outside: tuple[Bounds, ...] = ()


class Instance:
    """One thing that a phrase names; of its mask the part around it is kept, as there may be thousands
    on a slice.

    Args:
        mask: (rows, columns) boolean, on the slice's own grid.
        score: 0..1, that the phrase means it.
        box: (x0, y0, x1, y1), both ends inside.

    Attributes:
        size: (rows, columns) of the slice.
        region: rows and columns around the mask; empty ones for an empty mask.
        crop: the mask there.

    Examples:
        >>> mask = np.zeros((4, 6), bool)
        >>> mask[1, 2:5] = True
        >>> one = Instance(mask, 0.9, (2, 1, 4, 1))
        >>> one.crop.shape, bool((one.mask == mask).all())
        ((1, 3), True)
    """

    __slots__ = ("box", "crop", "region", "score", "size")

    def __init__(self, mask: NDArray[np.bool_], score: float, box: Bounds) -> None:
        rows, columns = bounding_region(mask)
        self.region = rows, columns
        self.crop: NDArray[np.bool_] = mask[rows, columns].copy()
        self.size = mask.shape[0], mask.shape[1]
        self.score, self.box = score, box

    @classmethod
    def of_part(
        cls,
        crop: NDArray[np.bool_],
        region: tuple[slice, slice],
        size: tuple[int, int],
        score: float,
        box: Bounds,
    ) -> Instance:
        """Return one of whose mask the part around it is known; see the attributes."""
        one = cls.__new__(cls)
        one.crop, one.region, one.size, one.score, one.box = crop, region, size, score, box
        return one

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Return the whole (rows, columns) mask, made anew."""
        full = np.zeros(self.size, bool)
        full[self.region] = self.crop
        return full


@dataclass(frozen=True, eq=False)
class Findings:
    """Findings of one phrase on one slice.

    Attributes:
        instances: those that are sure enough, the surest first; maybe none.
        presence: 0..1, that there is any; None where the model does not say.
        best: the highest score of all, sure enough or not.
    """

    instances: tuple[Instance, ...]
    presence: float | None = None
    best: float = 0.0


@runtime_checkable
class WordModel(Protocol):
    """Phrases in; none, one or many instances of each out."""

    def find(
        self, embedding: Embedding, phrases: Sequence[Phrase], at_least: float = 0.5
    ) -> list[Findings]:
        """Find the instances of phrases on one slice, which was encoded once for all of them.

        Args:
            embedding: of the slice, made by this model.
            phrases: what to look for.
            at_least: score up to which nothing counts as found.

        Raises:
            PromptError: an empty phrase without a box.
        """


class KnownWord(Protocol):
    """A word of a closed vocabulary."""

    @property
    def name(self) -> str:
        """Return what it is called."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the modalities of the images that it was trained on."""

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Return other words for it."""

    @property
    def code(self) -> str:
        """Return its SNOMED CT code; empty where the table of terms has none."""


@runtime_checkable
class ClosedWords(Protocol):
    """A model that takes the words of a list, and refuses others."""

    @property
    def known_words(self) -> Sequence[KnownWord]:
        """Return the words that it takes."""

    def word(self, phrase: str) -> KnownWord:
        """Find the word that a phrase names, or refuse the phrase.

        Raises:
            PromptError: none that it knows; the nearest one is offered.
        """

    def nearest_word(self, phrase: str) -> KnownWord:
        """Return the word that is most like a phrase, whatever the phrase means."""
