"""A SAM 2 trained on single images as a SAM is: its features one tensor, its parts by SAM's names.

So Algorithm 1 and the loop are the same for both. Memory takes no part, and stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam2.memory_sam import MemorySam
from promptseg.models.families.sam2.network import Features, Sam2, Sam2Steps
from promptseg.models.families.sam2.prompt_encoder import BOTTOM_RIGHT, TOP_LEFT

__all__ = ["ImageSam2", "as_image_sam2", "packed", "unpacked"]


class ImageSam2(Sam2Steps):
    """A SAM 2, or a SAM with its memory, asked as `Sam` is, under its own parameter names.

    See `as_image_sam2`: it is one of these, too.
    """

    image_encoder: nn.Module

    @property
    def prompt_encoder(self) -> _Prompts:
        """Return the prompt encoder, to be called as SAM's."""
        return _Prompts(self)

    @property
    def mask_decoder(self) -> _Masks:
        """Return the mask decoder, to be called as SAM's on what `encode` gives."""
        return _Masks(self)

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:  # type: ignore[override]
        """Encode (B, 3, S, S) preprocessed slices as (B, 4 C, h, w); see `packed`."""
        return packed(super().encode(slices, parallel))

    def unpacked(self, embeddings: Tensor) -> Features:
        """Unpack the features that `encode` made one tensor of."""
        dim = self.sam_prompt_encoder.channels
        if embeddings.shape[1] == dim:
            return Features.of_one_level(embeddings)
        return unpacked(embeddings)

    def part(self, name: str) -> nn.Module:
        """Return the module that SAM calls `name`."""
        own: nn.Module = getattr(self, name if name == "image_encoder" else f"sam_{name}")
        return own


class _OfSam2(ImageSam2, Sam2):  # type: ignore[misc]
    """See `as_image_sam2`."""


class _OfMemorySam(ImageSam2, MemorySam):  # type: ignore[misc]
    """See `as_image_sam2`."""


def as_image_sam2(network: Sam2 | MemorySam) -> ImageSam2:
    """Return a network with the same parameters that is called as `Sam` is.

    Args:
        network: whose parameters it takes over: they are the same ones.
    """
    own = _OfSam2 if isinstance(network, Sam2) else _OfMemorySam
    asked = own.__new__(own)
    nn.Module.__init__(asked)
    asked.__dict__.update(network.__dict__)
    return asked


class _Prompts:
    """See `ImageSam2.prompt_encoder`."""

    def __init__(self, network: ImageSam2) -> None:
        self.own = network.sam_prompt_encoder
        self.image_size, self.grid = network.image_size, network.grid
        self.channels = network.sam_prompt_encoder.channels

    def __call__(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> Any:
        """Sparse and dense embeddings of (N, P, 2) clicks, (N, 4) boxes and mask logits."""
        xy, labels = [], []
        if boxes is not None:
            xy.append(boxes.view(-1, 2, 2))
            labels.append(boxes.new_tensor([TOP_LEFT, BOTTOM_RIGHT]).expand(len(boxes), -1))
        if points is not None:
            xy.append(points[0])
            labels.append(points[1].to(points[0].dtype))
        said = (torch.cat(xy, dim=1), torch.cat(labels, dim=1)) if xy else None
        return self.own(said, masks)

    def dense_position(self) -> Tensor:
        """(1, C, h, w) position of every cell."""
        return self.own.dense_position()


class _Masks:
    """See `ImageSam2.mask_decoder`."""

    def __init__(self, network: ImageSam2) -> None:
        self.network = network

    def __call__(
        self, embeddings: Tensor, position: Tensor, sparse: Tensor, dense: Tensor, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """(N, k, 4 h, 4 w) mask logits and (N, k) predicted IoU of N objects, each on its own image."""
        features = self.network.unpacked(embeddings)
        features = features._replace(coarse=self.network.alone(features.coarse))
        decoded = self.network.read(features, sparse, dense, multimask)
        return decoded.logits, decoded.iou


def packed(features: Features) -> Tensor:
    """Pack features of three sizes into (B, 4 C, h, w): the sub-pixels of finer ones become channels.

    Of features without finer levels (B, C, h, w), as they are.
    """
    fine, middle, coarse = features
    if features.one_level:
        return coarse
    return torch.cat([F.pixel_unshuffle(fine, 4), F.pixel_unshuffle(middle, 2), coarse], dim=1)


def unpacked(embeddings: Tensor) -> Features:
    """Unpack the features that `packed` made one tensor of."""
    dim = embeddings.shape[1] // 4
    fine, middle, coarse = embeddings.split([2 * dim, dim, dim], dim=1)
    return Features(F.pixel_shuffle(fine, 4), F.pixel_shuffle(middle, 2), coarse)
