"""A semantic network as a model: slices in, logits of classes on their own grid out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from promptseg.errors import ModelError
from promptseg.models.finite import is_finite
from promptseg.models.heads.semantic.card import SemanticCard
from promptseg.models.heads.semantic.network import SemanticNetwork
from promptseg.models.preprocess import InputTransform, Preprocessing
from promptseg.models.protocol import Patch

__all__ = ["SemanticSam", "on_slice", "preprocessing_of"]


class SemanticSam:
    """One semantic network on one device; it is a `SemanticModel`.

    Args:
        card: what it is.
        network: in evaluation mode.
        device: where it is.
        weights: the file the weights came from.
        weights_sha256: of the file.
    """

    def __init__(
        self,
        card: SemanticCard,
        network: SemanticNetwork,
        device: torch.device,
        weights: Path,
        weights_sha256: str,
    ) -> None:
        self.card, self.network, self.device = card, network, device
        self.weights, self.weights_sha256 = weights, weights_sha256
        self.preprocessing = preprocessing_of(card)
        self._one_at_a_time = Lock()

    @property
    def classes(self) -> tuple[str, ...]:
        """See `SemanticModel`."""
        return self.card.names

    @property
    def scaling(self) -> str:
        """Return how pixels are scaled, as `Preprocessing.scaling` names it."""
        return self.preprocessing.scaling

    @property
    def patch(self) -> Patch:
        """See `SemanticModel`."""
        side = self.card.side
        plane = (side, side)
        if self.card.depth == 1:
            return Patch(plane)
        return Patch((self.card.depth, *plane), overlap=2 * self.card.halo / self.card.depth)

    @torch.inference_mode()
    def classify(self, patches: NDArray[np.float32]) -> Tensor:
        """See `SemanticModel`; patches have three channels."""
        size = self.patch.shape[-2:]
        given = torch.from_numpy(patches).to(self.device)
        if not len(given):
            return torch.zeros(0, len(self.classes) + 1, *self.patch.shape)
        logits = self._logits(given if given.ndim == 4 else given.transpose(1, 2))
        if logits.shape[-2:] == size:
            return logits
        if logits.ndim == 4:
            return F.interpolate(logits, size, mode="bilinear")
        flat = F.interpolate(logits.transpose(1, 2).flatten(0, 1), size, mode="bilinear")
        slices: Tensor = flat.unflatten(0, (len(logits), -1))
        return slices.transpose(1, 2)

    @torch.inference_mode()
    def on_slices(
        self, slices: Sequence[NDArray[np.uint8]], pixel: tuple[float, float] = (1, 1)
    ) -> Tensor:
        """Compute logits of every class at every pixel of some slices.

        Args:
            slices: of one shape, (rows, columns[, 3]) uint8 each: any number for a model of single
                slices, which see nothing of each other; neighbours in their order for one of volumes,
                as many as its patch has.
            pixel: width and height of their pixels, in any unit.

        Returns:
            (slices, 1 + classes, rows, columns) float32 on the model's device.

        Raises:
            ModelError: logits that are not finite.
        """
        applied = [self.preprocessing.apply(one, pixel) for one in slices]
        given = torch.from_numpy(np.stack([values for values, _ in applied])).to(self.device)
        deep = self.card.depth > 1
        logits = self._logits(given[None] if deep else given)
        each = logits[0].transpose(0, 1) if deep else logits
        return torch.stack(
            [on_slice(one, transform) for one, (_, transform) in zip(each, applied, strict=True)]
        )

    @property
    def encodes_slices_alone(self) -> bool:
        """Tell whether this is a model of volumes whose encoder sees one slice at a time."""
        return self.card.depth > 1 and not self.card.adapters

    @torch.inference_mode()
    def embed(self, pixels: NDArray[np.uint8], pixel: tuple[float, float] = (1, 1)) -> Tensor:
        """Encode one slice of a volume, for `of_embeddings`.

        Args:
            pixels: (rows, columns[, 3]) uint8.
            pixel: width and height of its pixels, in any unit.

        Returns:
            (C, h, w) on the model's device.
        """
        values, _ = self.preprocessing.apply(pixels, pixel)
        given = torch.from_numpy(values).to(self.device)
        with self._one_at_a_time:
            embedding: Tensor = self.network.encode(given[None, None])[0, 0]
        return embedding

    def of_embeddings(self, embeddings: Tensor, transform: InputTransform) -> Tensor:
        """Compute logits as `on_slices` does, but from (slices, C, h, w) embeddings."""
        given = embeddings.to(self.device)
        deep = self.card.depth > 1
        with torch.inference_mode(), self._one_at_a_time:
            logits = self._finite(self.network.classify(given[None] if deep else given))
            each = logits[0].transpose(0, 1) if deep else logits
            return torch.stack([on_slice(one, transform) for one in each])

    def _logits(self, given: Tensor) -> Tensor:
        with self._one_at_a_time:
            return self._finite(self.network(given))

    def _finite(self, logits: Tensor) -> Tensor:
        if not is_finite(logits):
            raise ModelError(
                "finite numbers from the model",
                f"NaN or infinity in the logits of {self.card.name} ({self.weights.name})",
                "get the weights again",
            )
        logits = logits.float()
        return logits.sigmoid() if self.card.sigmoid else logits


def preprocessing_of(card: SemanticCard) -> Preprocessing:
    """Return the preprocessing of slices: that of the model whose encoder it has, at its own size."""
    known = card.sam.preprocessing
    return Preprocessing(card.side, known.scaling, known.fit)


def on_slice(logits: Tensor, transform: InputTransform) -> Tensor:
    """Scale (classes, h, w) logits in the network's input to (classes, rows, columns) on the slice."""
    every = logits[None]
    if transform.fit == "longest":
        if logits.shape[-1] != transform.size:
            every = F.interpolate(every, (transform.size, transform.size), mode="bilinear")
        every = every[..., : transform.resized[0], : transform.resized[1]]
    return F.interpolate(every, transform.original, mode="bilinear")[0]
