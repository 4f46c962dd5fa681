"""A model that gives classes without prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Patch", "SemanticModel"]


@dataclass(frozen=True)
class Patch:
    """Patch that such a model sees at a time: its shape, its spacing, and how far neighbours overlap.

    Attributes:
        shape: (rows, columns), or (slices, rows, columns).
        spacing: of its voxels in mm, (x, y[, z]); None where the model does not care.
        overlap: share of a patch's length that neighbours have in common.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    overlap: float = 0.5


@runtime_checkable
class SemanticModel(Protocol):
    """Patches in, classes out. Who cuts patches and joins their logits is not its concern."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes; background, none of them, is class 0 of the logits."""

    @property
    def patch(self) -> Patch:
        """Return the patches that it takes."""

    def classify(self, patches: NDArray[np.float32]) -> Tensor:
        """Compute the logits of every class at every place of some patches.

        Args:
            patches: (N, *patch.shape), or (N, channels, *patch.shape) for a model of colours, as its
                preprocessing leaves them.

        Returns:
            (N, 1 + classes, *patch.shape) float32.
        """
