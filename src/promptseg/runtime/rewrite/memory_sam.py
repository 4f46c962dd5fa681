"""A SAM with memory for inference: its encoder and mask decoder are rewritten as a SAM's.

Memory in 64 channels is a small part of a frame's cost, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from promptseg.models.families.sam.mask_decoder import MaskDecoder
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import (
    MAPS,
    POINTERS,
    Features,
    MemoryTokens,
)
from promptseg.models.families.sam2.prompt_encoder import PromptEncoder
from promptseg.runtime.rewrite.mask_decoder import FusedMaskDecoder
from promptseg.runtime.rewrite.ready import made_ready
from promptseg.runtime.rewrite.sam import asked_for
from promptseg.runtime.rewrite.tiny_vit import FusedTinyViT

__all__ = ["FusedMemorySam", "can_prepare_memory", "prepare_memory"]

Run = Callable[..., Any]


class FusedMemorySam(MemorySam):
    """A SAM with memory whose large parts are rewritten; asked like `MemorySam`.

    Args:
        network: the network it takes its weights from, in evaluation mode.
    """

    image_encoder: FusedTinyViT  # type: ignore[assignment]
    mask_decoder: FusedMaskDecoder

    def __init__(self, network: MemorySam) -> None:
        nn.Module.__init__(self)  # its parts are those of the network
        own = dict(network._modules)
        encoder, decoder = network.image_encoder["trunk"], own.pop("sam_mask_decoder")
        assert isinstance(encoder, TinyViT)  # see `can_prepare_memory`
        assert isinstance(decoder, MaskDecoder)
        self.__dict__.update({**network.__dict__, "_modules": own})
        self.image_encoder = FusedTinyViT(encoder)
        position = network.sam_prompt_encoder.dense_position()
        self.mask_decoder = FusedMaskDecoder(decoder, position)
        self._run: Run | None = None

    @property
    def prompt_encoder(self) -> PromptEncoder:
        """Return the prompt encoder under the name that it has in a SAM."""
        return self.sam_prompt_encoder

    def on(self, run: Run) -> FusedMemorySam:
        """Return a copy whose large parts are run by `run(name, *inputs, parallel=...)`."""
        other = copy(self)
        other._run = run
        return other

    def encode(self, slices: Tensor, parallel: bool = False) -> Features:
        """See `Sam2Steps`."""
        if self._run is not None:
            return Features.of_one_level(self._run("encoder", slices, parallel=parallel))
        return Features.of_one_level(self.image_encoder(slices))

    def masks_of(
        self, coarse: Tensor, sparse: Tensor, dense: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `MemorySam`."""
        if dense is None:
            dense = self.sam_prompt_encoder.dense(None, 1)[:, :, :1, :1]
        run = self.mask_decoder if self._run is None else self._decoder
        logits, iou = run(coarse, sparse, dense)
        return asked_for(logits, multimask), asked_for(iou, multimask)

    def full_memory(self) -> MemoryTokens:
        """Make as many tokens of memory as a frame looks at after many others: random, the same at
        every call.
        """
        generator = torch.Generator().manual_seed(0)
        kept = self.maskmem_tpos_enc.shape[-1]
        maps, pointers = MAPS * self.grid**2, (POINTERS - 1) * self.shape.dim // kept

        def made(count: int) -> Tensor:
            values = torch.randn(1, count, kept, generator=generator)
            return values.to(self.maskmem_tpos_enc.device)

        return MemoryTokens(made(maps), made(maps), made(pointers), made(pointers))

    def _decoder(self, coarse: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        assert self._run is not None
        logits, iou = self._run("decoder", coarse, sparse, dense)
        return logits, iou


def can_prepare_memory(network: MemorySam) -> bool:
    """Tell whether there is a rewrite of its image encoder."""
    return isinstance(network.image_encoder["trunk"], TinyViT)


def prepare_memory(network: MemorySam, device: torch.device) -> FusedMemorySam:
    """Make a network ready to run on a device."""
    return made_ready(FusedMemorySam, network, device)
