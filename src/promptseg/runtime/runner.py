"""A model on an engine: its parts compiled when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Protocol

import torch
from torch import Tensor

from promptseg.models.families.sam2.network import Memory, Sam2Steps, Seen
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT
from promptseg.runtime.engines import Compiled, Engine, Part
from promptseg.runtime.parts import parts_of
from promptseg.runtime.phantom import phantom_input
from promptseg.runtime.rewrite import FusedMemorySam, FusedNetwork, FusedSam, FusedSam2
from promptseg.runtime.rewrite.sam import asked_for

__all__ = ["NetworkRunner", "Runner", "Sam2Runner", "runner_of"]

_MANY = " of many"


class NetworkRunner(Protocol):
    """Runs one network on one engine.

    Attributes:
        network: the prepared network, on its device.
        engine: what executes its parts.
        parts: by name.
    """

    network: Any
    engine: Engine
    parts: dict[str, Part]

    @property
    def parallel(self) -> int:
        """Return the number of slices worth encoding at the same time, from as many threads."""

    @property
    def asked(self) -> Any:
        """Return the object that a model of the network's family calls in place of the network."""

    def warm(self) -> None:
        """Compile what every image needs.

        Raises:
            CompileError: the engine cannot.
        """

    def answers(self) -> tuple[Tensor, Tensor]:
        """Compute embedding and mask logits of the synthetic phantom, by which engines are compared."""

    def trial(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Return two calls to be timed: one more slice of a volume, and one more prompt on it."""


class _Parts:
    """The parts of a network on an engine.

    Args:
        network: the prepared network, on its device.
        engine: what executes its parts; prompts are always embedded by torch, which takes no time.
        threads: CPU threads.
        identity: hash of the weights; "" if they have none.
    """

    def __init__(
        self, network: FusedNetwork, engine: Engine, threads: int, identity: str = ""
    ) -> None:
        self.engine, self.threads = engine, threads
        self.parts = parts_of(network, identity)
        self._compiled: dict[str, Compiled] = {}
        self._compiling = Lock()

    @property
    def parallel(self) -> int:
        """See `NetworkRunner`."""
        return self.threads if self.engine.parallel else 1

    def run(self, name: str, *inputs: Tensor, parallel: bool = False) -> Any:
        """A part's answer.

        Args:
            name: of the part.
            inputs: slices may come together; engines that freeze the batch take them one by one.
            parallel: whether other threads encode at the same time.
        """
        compiled = self.compiled(name, parallel)
        first = inputs[0]
        if name != "encoder" or self.engine.batches or len(first) == 1:
            return compiled(*inputs)
        found = [compiled(one) for one in first.split(1)]
        if isinstance(found[0], tuple):
            return tuple(torch.cat(each) for each in zip(*found, strict=True))
        return torch.cat(found)

    def compiled(self, name: str, parallel: bool = False) -> Compiled:
        """A part on the engine, compiled when it is first asked for."""
        streams = self.parallel if parallel else 1
        key = name if streams == 1 else name + _MANY
        with self._compiling:
            if key not in self._compiled:
                part = self.parts[name]
                self._compiled[key] = self.engine.compile(part, self.threads, streams)
            return self._compiled[key]

    def warm(self) -> None:
        """See `NetworkRunner`."""
        for name in self.parts:
            self.compiled(name)


class Runner(_Parts):
    """Runs a SAM; see `NetworkRunner`."""

    def __init__(self, network: FusedSam, engine: Engine, threads: int, identity: str = "") -> None:
        super().__init__(network, engine, threads, identity)
        self.network = network

    @property
    def asked(self) -> Runner:
        """See `NetworkRunner`."""
        return self

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Map preprocessed slices to embeddings.

        Args:
            slices: (B, 3, S, S) float32.
            parallel: whether other threads encode at the same time.

        Returns:
            (B, 256, 64, 64) float32.
        """
        found: Tensor = self.run("encoder", slices, parallel=parallel)
        return found

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Map embeddings and prompts to mask logits and predicted IoU; see `Sam.decode`."""
        sparse, dense = self.network.embed_prompts(points, boxes, masks)
        logits, quality = self.run("decoder", embedding, sparse, dense)
        return asked_for(logits, multimask), asked_for(quality, multimask)

    def answers(self) -> tuple[Tensor, Tensor]:
        """See `NetworkRunner`."""
        picture, box = self._made()
        embedding = self.encode(picture)
        return embedding, self.decode(embedding, boxes=box)[0]

    def trial(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """See `NetworkRunner`."""
        picture, box = self._made()
        embedding = self.encode(picture)
        return partial(self.encode, picture), partial(self.decode, embedding, boxes=box)

    def _made(self) -> tuple[Tensor, Tensor]:
        device = next(self.network.parameters()).device
        return phantom_input(self.network.image_encoder.img_size, device)


class Sam2Runner(_Parts):
    """Runs a SAM 2, or a SAM with its memory; see `NetworkRunner`."""

    def __init__(
        self,
        network: FusedSam2 | FusedMemorySam,
        engine: Engine,
        threads: int,
        identity: str = "",
    ) -> None:
        super().__init__(network, engine, threads, identity)
        self.network = network
        self.asked: Sam2Steps = network.on(self.run)

    def answers(self) -> tuple[Tensor, Tensor]:
        """See `NetworkRunner`: features as they are and conditioned, masks by prompt and by memory."""
        network, (picture, corners) = self.asked, self._made()
        features = network.encode(picture)
        alone = features._replace(coarse=network.alone(features.coarse))
        first = network.decode(alone, corners)
        pointer = network.obj_ptr_proj(first.tokens[:, 0])
        there = torch.ones_like(
            first.presence
        )  # whatever the network says of the synthetic phantom
        seen = Seen(first.logits, first.iou[:, 0], pointer, there)
        map_ = network.remember(features.coarse, seen, prompted=True)
        memory = Memory([(map_, 0), (map_, 1)], [(pointer, 1)], 1)
        conditioned = network.attend(features.coarse, memory)
        then = network.decode(features._replace(coarse=conditioned), corners)
        embedding = torch.cat([features.coarse, conditioned])
        return embedding, torch.cat([first.logits, then.logits])

    def trial(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """See `NetworkRunner`; a slice is encoded, and looks at memory."""
        network, (picture, corners) = self.asked, self._made()
        features, memory = network.encode(picture), self.network.full_memory()

        def more() -> None:
            network.condition(network.encode(picture).coarse, memory)

        return more, partial(network.decode, features, corners)

    def _made(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The synthetic phantom, and a box on it as two corners."""
        picture, box = phantom_input(self.network.image_size, self.network.maskmem_tpos_enc.device)
        return picture, (box.view(1, 2, 2), box.new_tensor([[TOP_LEFT, BOTTOM_RIGHT]]))


def runner_of(
    network: FusedNetwork, engine: Engine, threads: int, identity: str = ""
) -> NetworkRunner:
    """Build the runner of a rewritten network on an engine; see `_Parts` for the arguments."""
    if isinstance(network, FusedSam2 | FusedMemorySam):
        return Sam2Runner(network, engine, threads, identity)
    return Runner(network, engine, threads, identity)
