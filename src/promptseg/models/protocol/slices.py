"""A model that answers prompts on one slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptseg.models.card import ModelCard
from promptseg.models.protocol.embedding import Embedding
from promptseg.models.protocol.prediction import Prediction
from promptseg.models.protocol.prompt import SlicePrompt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["SliceModel"]


@runtime_checkable
class SliceModel(Protocol):
    """Slices in, embeddings out; embeddings and prompts in, masks out.

    The same slice and prompts give the same answer, whatever was asked before.
    """

    card: ModelCard

    @property
    def device(self) -> torch.device:
        """Return the device that it runs on."""

    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        """Embed slices of one shape as one batch.

        Args:
            slices: (rows, columns[, 3]) uint8 each; none gives none.
            pixel: width and height of their pixels, in any unit.
            parallel: whether other threads encode at the same time.
        """

    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """Answer the prompts of N objects on one slice with masks.

        Args:
            embedding: of the slice, made by this model.
            prompts: one entry per object, of any kinds; none gives a prediction of no masks.

        Returns:
            One mask per object; a single point gets the best of three by predicted IoU.
        """

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        """Return all that the embedding of a slice depends on besides its pixels and the weights.

        Args:
            shape: (rows, columns) of the slice.
            pixel: width and height of its pixels, in any unit.

        Returns:
            Plain values, equal where the same pixels give the same embedding.
        """

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Embedding:
        """Make an embedding again from its `Embedding.tensors`, bit for bit.

        Raises:
            ValueError: tensors of another model.
        """
