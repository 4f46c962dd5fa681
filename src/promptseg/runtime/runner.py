"""A model on an engine: its parts compiled when they are first needed."""

from __future__ import annotations

from functools import cached_property
from threading import Lock

import torch
from torch import Tensor

from promptseg.runtime.engines import Compiled, Engine, Part
from promptseg.runtime.picture import check_input
from promptseg.runtime.rewrite import FastSam
from promptseg.runtime.rewrite.sam import asked_for

__all__ = ["Runner", "parts_of"]

_TOKENS = 2  # of one box, or one click and its padding


class Runner:
    """Runs one network on one engine.

    Args:
        network: the prepared network, on its device.
        engine: what executes the image encoder and the mask decoder; prompts are always embedded by
            torch, which takes no time.
        threads: CPU threads.
        identity: hash of the weights; "" if they have none.
    """

    def __init__(self, network: FastSam, engine: Engine, threads: int, identity: str = "") -> None:
        self.network, self.engine, self.threads = network, engine, threads
        self.parts = parts_of(network, identity)
        self._compiling = Lock()

    @property
    def parallel(self) -> int:
        """Slices worth encoding at the same time, from as many threads."""
        return self.threads if self.engine.parallel else 1

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Preprocessed slices -> embeddings.

        Args:
            slices: (B, 3, S, S) float32; engines that freeze the batch take them one by one.
            parallel: whether other threads encode at the same time.

        Returns:
            (B, 256, 64, 64) float32.
        """
        with self._compiling:
            encoder = self._encoder_of_many if parallel else self._encoder
        if self.engine.batches or len(slices) == 1:
            found: Tensor = encoder(slices)
            return found
        return torch.cat([encoder(one[None]) for one in slices])

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings and prompts -> mask logits and predicted IoU; see `Sam.decode`."""
        sparse, dense = self.network.embed_prompts(points, boxes, masks)
        with self._compiling:
            decoder = self._decoder
        logits, quality = decoder(embedding, sparse, dense)
        return asked_for(logits, multimask), asked_for(quality, multimask)

    def warm(self) -> None:
        """Compile what every image needs.

        Raises:
            CompileError: the engine cannot.
        """
        with self._compiling:
            _ = self._encoder, self._decoder

    @cached_property
    def _encoder(self) -> Compiled:
        return self.engine.compile(self.parts["encoder"], self.threads)

    @cached_property
    def _encoder_of_many(self) -> Compiled:
        if self.parallel == 1:
            return self._encoder
        return self.engine.compile(self.parts["encoder"], self.threads, self.parallel)

    @cached_property
    def _decoder(self) -> Compiled:
        return self.engine.compile(self.parts["decoder"], self.threads)


def parts_of(network: FastSam, identity: str = "") -> dict[str, Part]:
    """The parts that engines run, by name."""
    device = next(network.parameters()).device
    size = network.image_encoder.img_size
    slices, _ = check_input(size, device)
    prompts = network.prompt_encoder
    channels, grid = prompts.channels, prompts.grid
    image = torch.zeros(1, channels, grid, grid, device=device)
    tokens = torch.zeros(1, _TOKENS, channels, device=device)
    return {
        "encoder": Part(
            "encoder",
            network.image_encoder,
            (slices,),
            identity=identity,
            inputs=("slices",),
            outputs=("embedding",),
            channels_last=("slices", "embedding"),
        ),
        "decoder": Part(
            "decoder",
            network.mask_decoder,
            (image, tokens, image.clone()),
            ((), (0, 1), (0, 2, 3)),
            identity,
            ("embedding", "sparse", "dense"),
            ("logits", "quality"),
            channels_last=("embedding",),
        ),
    }
