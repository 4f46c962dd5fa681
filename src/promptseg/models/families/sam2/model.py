"""A SAM 2 as a model: 2D images by prompts alone, and a memory of objects in frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.models.card import ModelCard
from promptseg.models.families.alike import (
    apart,
    as_batch,
    best_candidate,
    decoded_alike,
    no_prediction,
)
from promptseg.models.families.sam2.bank import CONDITIONING
from promptseg.models.families.sam2.embedding import ONE_LEVEL, Sam2Embedding
from promptseg.models.families.sam2.network import MAPS, POINTERS, Features, Sam2Steps
from promptseg.models.families.sam2.prompts import mask_prompt_of, points_of
from promptseg.models.families.sam2.tracker import Sam2Memory
from promptseg.models.protocol import Embedding, Frames, Prediction, SlicePrompt

__all__ = ["Sam2Model"]


class Sam2Model:
    """One SAM 2 on one device.

    Args:
        card: what the model is.
        network: in evaluation mode.
        device: where it is.
    """

    def __init__(self, card: ModelCard, network: Sam2Steps, device: torch.device) -> None:
        self.card, self.network, self.device = card, network, device

    @property
    def side(self) -> int:
        """Return the length of the side of mask logits."""
        return 4 * self.network.grid

    @property
    def object_bytes(self) -> int:
        """See `Remembering`: maps, and mask logits of all frames with pointers, in 32 bits."""
        grid, channels = self.network.grid, self.network.maskmem_tpos_enc.shape[-1]
        maps = (CONDITIONING + MAPS - 1) * channels * grid**2
        return 4 * (maps + (CONDITIONING + POINTERS - 1) * (4 * grid) ** 2)

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
        each = apart(self.network.encode(batch, parallel))
        return [
            Sam2Embedding(Features(*levels), transform)
            for levels, transform in zip(each, transforms, strict=True)
        ]

    @torch.inference_mode()
    def decode(self, embedding: Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """See `SliceModel`. Objects whose prompts are alike are decoded together."""
        assert isinstance(embedding, Sam2Embedding), "an embedding of this model"
        none = no_prediction(embedding.transform.original, self.side, self.device)
        return decoded_alike(prompts, partial(self._decode, embedding), none)

    def _decode(self, embedding: Sam2Embedding, prompts: Sequence[SlicePrompt]) -> Prediction:
        """Masks of objects that have the same kinds of prompts, and as many clicks."""
        transform, features = embedding.transform, embedding.features
        single_point = prompts[0].is_single_point
        decoded = self.network.decode(
            features._replace(coarse=self.network.alone(features.coarse)),
            points_of(prompts, transform, self.device),
            mask_prompt_of(prompts, transform, self.side, self.device),
            single_point,
        )
        return best_candidate(decoded.logits, decoded.iou, transform, single_point)

    def memory(self, frames: Frames, official: bool = False) -> Sam2Memory:
        """See `Remembering`."""
        return Sam2Memory(self.network, frames, self.device, official)

    def layout(self, shape: tuple[int, int], pixel: tuple[float, float] = (1, 1)) -> dict[str, Any]:
        """See `SliceModel`: every slice fills the input, whatever its pixels."""
        return {"resized": self.card.preprocessing.input_transform(*shape, pixel).resized}

    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        pixel: tuple[float, float] = (1, 1),
    ) -> Sam2Embedding:
        """See `SliceModel`."""
        own = {ONE_LEVEL} if self.network.one_level else set(Features._fields)
        if tensors.keys() != own:
            raise ValueError("made by another kind of model")
        here = {k: v.to(self.device) for k, v in tensors.items()}
        features = Features.of_one_level(here[ONE_LEVEL]) if len(own) == 1 else Features(**here)
        return Sam2Embedding(features, self.card.preprocessing.input_transform(*shape, pixel))
