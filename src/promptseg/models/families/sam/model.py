"""A SAM as a model: preprocessing, prompts in the network's input, masks back on the slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.models.card import ModelCard
from promptseg.models.families.alike import as_batch, best_candidate, decoded_alike, no_prediction
from promptseg.models.families.sam.build import Sam
from promptseg.models.families.sam.mask_prompt import logits_of_mask
from promptseg.models.preprocess import InputTransform
from promptseg.models.protocol import Embedding, Prediction, SlicePrompt

__all__ = ["SamEmbedding", "SamModel", "SamNetwork"]

_FEATURES = "features"


class SamNetwork(Protocol):
    """A SAM, or what runs one."""

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, C, h, w) embeddings."""

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """See `Sam.decode`."""


@dataclass(frozen=True)
class SamEmbedding:
    """Embedding of one slice by SAM's image encoder.

    Attributes:
        features: (1, C, h, w) on the model's device; (1, 256, 64, 64) in all published models.
        transform: how the slice lies in the network's input.
    """

    features: Tensor
    transform: InputTransform

    @property
    def nbytes(self) -> int:
        """See `Embedding`."""
        return self.features.nbytes

    def tensors(self) -> dict[str, Tensor]:
        """See `Embedding`."""
        return {_FEATURES: self.features}

    def view(self) -> Tensor:
        """See `Embedding`."""
        return self.features[0].float()


class SamModel:
    """One SAM on one device.

    Args:
        card: what the model is.
        network: the network in evaluation mode, or what runs it.
        device: where it is.
        side: length of a mask prompt's side.
    """

    def __init__(
        self, card: ModelCard, network: SamNetwork | Sam, device: torch.device, side: int = 256
    ) -> None:
        self.card, self.network, self.device, self.side = card, network, device, side

    @torch.inference_mode()
    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        """See `SliceModel`."""
        if not slices:
            return []
        batch, transforms = as_batch(self.card.preprocessing, slices, pixel, self.device)
        features = self.network.encode(
            batch.contiguous(memory_format=torch.channels_last), parallel
        )
        alone = features.split(1) if len(features) == 1 else [f.clone() for f in features.split(1)]
        return [
            SamEmbedding(one, transform) for one, transform in zip(alone, transforms, strict=True)
        ]

    @torch.inference_mode()
    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """See `SliceModel`. Objects whose prompts are alike are decoded together."""
        assert isinstance(embedding, SamEmbedding), "an embedding of this model"
        none = no_prediction(embedding.transform.original, self.side, self.device)
        return decoded_alike(prompts, partial(self._decode, embedding), none)

    def _decode(self, embedding: SamEmbedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """Masks of objects that have the same kinds of prompts, and as many clicks."""
        transform, first = embedding.transform, prompts[0]
        boxes = points = mask_prompts = None
        if first.box is not None:
            corners = np.array([p.box for p in prompts], np.float64).reshape(-1, 2, 2)
            boxes = torch.from_numpy(transform.scale_xy(corners).reshape(-1, 4)).to(self.device)
        if first.xy:
            xy = transform.scale_xy(np.array([p.xy for p in prompts], np.float64))
            labels = np.array([p.labels for p in prompts], np.float32)
            points = torch.from_numpy(xy).to(self.device), torch.from_numpy(labels).to(self.device)
        if first.has_mask:
            mask_prompts = torch.cat([self._mask_prompt(p, transform) for p in prompts])
        single_point = first.is_single_point
        every, quality = self.network.decode(
            embedding.features, points, boxes, mask_prompts, single_point
        )
        return best_candidate(every, quality, transform, single_point)

    def _mask_prompt(self, prompt: SlicePrompt, transform: InputTransform) -> Tensor:
        """(1, 1, side, side) mask prompt."""
        if prompt.mask is not None:
            return logits_of_mask(prompt.mask, transform, self.side).to(self.device)
        assert prompt.logits is not None
        return prompt.logits.to(self.device)

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        """See `SliceModel`; the shape of pixels shows in the size of the slice in the input."""
        return {"resized": self.card.preprocessing.input_transform(*shape, pixel).resized}

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> SamEmbedding:
        """See `SliceModel`."""
        if tensors.keys() != {_FEATURES}:
            raise ValueError("made by another kind of model")
        transform = self.card.preprocessing.input_transform(*shape, pixel)
        return SamEmbedding(tensors[_FEATURES].to(self.device), transform)
