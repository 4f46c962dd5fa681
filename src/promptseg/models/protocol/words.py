"""A model that takes words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol.embedding import Embedding

__all__ = ["Instance", "WordModel"]


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing that a phrase names.

    Attributes:
        mask: (rows, columns) boolean, on the slice's own grid.
        score: 0..1, that the phrase means it.
        box: (x0, y0, x1, y1), both ends inside.
    """

    mask: NDArray[np.bool_]
    score: float
    box: tuple[float, float, float, float]


@runtime_checkable
class WordModel(Protocol):
    """One phrase in; none, one or many instances out."""

    def find(self, embedding: Embedding, phrase: str, at_least: float = 0.5) -> list[Instance]:
        """The instances of a phrase on one slice, the surest first.

        Args:
            embedding: of the slice, made by this model.
            phrase: a short noun phrase.
            at_least: score below which nothing counts as found.

        Raises:
            PromptError: an empty phrase.
        """
