"""The steps of a network that cost time and memory, the same for SAM and for one with memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from promptseg.models.families.sam import Sam
from promptseg.models.families.sam2.network import MAPS, POINTERS, Features, Memory, Sam2Steps
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT

__all__ = ["Answering", "answering"]


class Answering(Protocol):
    """A network and some objects of one image."""

    image_size: int

    def encode(self, slices: Tensor) -> Sequence[Tensor]:
        """Compute the features of an image (1, 3, S, S), of one level or of several."""

    def answer(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the decoder once; returns mask logits and predicted IoU of the objects."""


def answering(network: Sam | Sam2Steps, objects: int, propagated: bool) -> Answering:
    """Return a network with some objects of an image: boxes, or objects propagated with memory.

    Args:
        network: on its device.
        objects: how many.
        propagated: whether they are propagated with as much memory as a frame looks at, and remembered;
            of a network with memory.
    """
    if isinstance(network, Sam2Steps):
        return _Propagated(network, objects) if propagated else _Boxed2(network, objects)
    return _Boxed(network, objects)


def _boxes(network: torch.nn.Module, side: int, objects: int) -> Tensor:
    """(N, 4) boxes half as large as the input."""
    corners = torch.rand(objects, 4, generator=torch.Generator().manual_seed(0)) * side / 2
    boxes = corners + torch.tensor([0, 0, side / 2, side / 2])
    return boxes.to(next(network.parameters()).device)


class _Boxed:
    def __init__(self, network: Sam, objects: int) -> None:
        self.network, self.image_size = network, network.prompt_encoder.image_size
        self.boxes = _boxes(network, self.image_size, objects)

    def encode(self, slices: Tensor) -> Sequence[Tensor]:
        return [self.network.encode(slices)]

    def answer(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.network.decode(levels[0], boxes=self.boxes)


class _Boxed2:
    def __init__(self, network: Sam2Steps, objects: int) -> None:
        self.network, self.image_size = network, network.image_size
        boxes = _boxes(network, self.image_size, objects).view(-1, 2, 2)
        self.clicks = boxes, boxes.new_tensor([TOP_LEFT, BOTTOM_RIGHT]).expand(objects, -1)

    def encode(self, slices: Tensor) -> Sequence[Tensor]:
        return self.network.encode(slices)

    def answer(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        features = Features(*levels)
        alone = features._replace(coarse=self.network.alone(features.coarse))
        decoded = self.network.decode(alone, self.clicks)
        return decoded.logits, decoded.iou


class _Propagated(_Boxed2):
    def __init__(self, network: Sam2Steps, objects: int) -> None:
        super().__init__(network, objects)
        like, cells = network.maskmem_tpos_enc, (network.grid, network.grid)
        maps = [like.new_zeros(objects, like.shape[-1], *cells) for _ in range(MAPS)]
        pointer = network.no_obj_ptr.detach().expand(objects, -1)
        self.memory = Memory(
            [(map_.requires_grad_(), age) for age, map_ in enumerate(maps)],
            [(pointer, ago) for ago in range(1, POINTERS)],
            POINTERS - 1,
        )

    def answer(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        features = Features(*levels)
        look = self.network.look(features, self.memory)
        clicks = look.clicks or self._nothing(features)
        decoded = look.judged(self.network.decode(look.features, clicks, multimask=True))
        seen = self.network.settle(decoded)
        kept = self.network.remember(features.coarse, seen, prompted=False)
        return decoded.logits, decoded.iou + kept.mean()

    def _nothing(self, features: Features) -> tuple[Tensor, Tensor]:
        count = len(self.memory.maps[0][0])
        return features.coarse.new_zeros(count, 1, 2), features.coarse.new_full((count, 1), -1)
