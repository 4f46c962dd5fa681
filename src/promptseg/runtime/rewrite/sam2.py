"""A SAM 2 for inference, put together from rewritten parts."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

from promptseg.models.families.sam2.mask_decoder import Decoded, asked_for
from promptseg.models.families.sam2.neck import ImageEncoder
from promptseg.models.families.sam2.network import (
    MAPS,
    POINTERS,
    Features,
    MemoryTokens,
    Sam2,
    Sam2Steps,
)
from promptseg.runtime.rewrite.hiera import FusedHiera, can_nest
from promptseg.runtime.rewrite.memory_attention import FusedMemoryAttention
from promptseg.runtime.rewrite.ready import made_ready
from promptseg.runtime.rewrite.sam2_decoder import FusedSam2Decoder

__all__ = ["FusedSam2", "can_prepare_sam2", "prepare_sam2"]

Run = Callable[..., Any]


class FusedSam2(Sam2Steps):
    """A SAM 2 whose large parts are rewritten; asked like `Sam2`.

    Args:
        network: the network it takes its weights from, in evaluation mode.
    """

    def __init__(self, network: Sam2) -> None:
        super().__init__(network.shape)
        own = self.state_dict()
        self.load_state_dict({k: v for k, v in network.state_dict().items() if k in own})
        decoder = network.sam_mask_decoder
        assert isinstance(network.image_encoder, ImageEncoder)  # see `can_prepare_sam2`
        self.image_encoder = FusedHiera(
            network.image_encoder, decoder.conv_s0, decoder.conv_s1, network.image_size
        )
        self.memory_attention = FusedMemoryAttention(
            network.memory_attention, network.features_position
        )
        position = network.sam_prompt_encoder.dense_position()
        self.sam_mask_decoder = FusedSam2Decoder(decoder, position)
        self._run: Run | None = None

    def on(self, run: Run) -> FusedSam2:
        """Return a copy whose large parts are run by `run(name, *inputs, parallel=...)`."""
        other = copy(self)
        other._run = run
        return other

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """See `Sam2Steps`."""
        return Features(*self._part("encoder", slices, parallel=parallel))

    def condition(self, coarse: Tensor, memory: MemoryTokens) -> Tensor:
        """See `Sam2Steps`."""
        conditioned: Tensor = self._part("attention", coarse, *memory)
        return conditioned

    def read(
        self, features: Features, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> Decoded:
        """See `Sam2Steps`."""
        if dense is None:
            dense = self.sam_prompt_encoder.dense(None, 1)[:, :, :1, :1]
        fine, middle, coarse = features
        logits, iou, tokens, presence = self._part("decoder", coarse, fine, middle, sparse, dense)
        return asked_for(logits, iou, tokens, presence, multimask)

    def _part(self, name: str, *inputs: Tensor, parallel: bool = False) -> Any:
        if self._run is not None:
            return self._run(name, *inputs, parallel=parallel)
        modules = {
            "encoder": self.image_encoder,
            "attention": self.memory_attention,
            "decoder": self.sam_mask_decoder,
        }
        return modules[name](*inputs)

    def full_memory(self) -> MemoryTokens:
        """Make as many tokens of memory as a frame looks at after many others: random, the same at
        every call.
        """
        generator = torch.Generator().manual_seed(0)
        narrow, cells = self.shape.memory, self.grid**2
        pointers = (POINTERS - 1) * self.shape.dim // narrow

        def made(count: int) -> Tensor:
            values = torch.randn(1, count, narrow, generator=generator)
            return values.to(self.no_mem_embed.device)

        maps = MAPS * cells
        return MemoryTokens(made(maps), made(maps), made(pointers), made(pointers))


def can_prepare_sam2(network: Sam2) -> bool:
    """Tell whether there is a rewrite of its trunk."""
    encoder = network.image_encoder
    return isinstance(encoder, ImageEncoder) and can_nest(encoder, network.image_size)


def prepare_sam2(network: Sam2, device: torch.device) -> FusedSam2:
    """Make a network ready to run on a device."""
    return made_ready(FusedSam2, network, device)
