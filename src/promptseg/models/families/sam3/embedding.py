"""Embedding that SAM 3's image encoder makes of one slice."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from promptseg.models.preprocess import InputTransform

__all__ = ["LEVELS", "Sam3Embedding"]

LEVELS = ("fine", "middle", "coarse")


@dataclass(frozen=True)
class Sam3Embedding:
    """Features of one slice, before any phrase.

    Attributes:
        levels: (1, C, h, w) at a quarter, half and the whole of a patch, on the model's device.
        transform: how the slice lies in the network's input.
    """

    levels: tuple[Tensor, ...]
    transform: InputTransform

    @property
    def nbytes(self) -> int:
        """See `Embedding`."""
        return sum(level.nbytes for level in self.levels)

    def tensors(self) -> dict[str, Tensor]:
        """See `Embedding`."""
        return dict(zip(LEVELS, self.levels, strict=True))

    def view(self) -> Tensor:
        """See `Embedding`."""
        return self.levels[-1][0].float()
