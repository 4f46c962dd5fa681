"""Embedding of one slice by SAM 2's image encoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from promptseg.models.families.sam2.network import Features
from promptseg.models.preprocess import InputTransform

__all__ = ["ONE_LEVEL", "Sam2Embedding"]

ONE_LEVEL = "features"


@dataclass(frozen=True)
class Sam2Embedding:
    """Features of one slice, before anything is known of an object.

    Attributes:
        features: at strides of 4, 8 and 16 pixels, on the model's device; see `Features`.
        transform: how the slice lies in the network's input.
    """

    features: Features
    transform: InputTransform

    @property
    def nbytes(self) -> int:
        """See `Embedding`."""
        return sum(level.nbytes for level in self.features)

    def tensors(self) -> dict[str, Tensor]:
        """See `Embedding`; of one level as a SAM's, which may share them."""
        if self.features.one_level:
            return {ONE_LEVEL: self.features.coarse}
        return self.features._asdict()

    def view(self) -> Tensor:
        """See `Embedding`."""
        return self.features.coarse[0].float()
