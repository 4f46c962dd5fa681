"""The input of an iteration: images and the masks of some of their objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """B images with N objects, in the frame of the network's input.

    Attributes:
        slices: (B, 3, S, S) preprocessed slices; None where the embeddings are there already.
        embeddings: (B, C, h, w) of the slices; None before they are encoded.
        masks: (N, R, R) boolean: the objects on the grid on which losses are computed, the whole
            input with its padding.
        boxes: (N, 4) XYXY of the objects, in pixels of the input, both ends inside.
        owner: (N,) which image an object is on.
        extent: (B, 2) how many rows and columns of the grid the image takes; the rest is padding.
        union: (B, R, R) boolean union of all targets of each image, chosen or not.
        names: of the objects, for what is drawn by chance: (sample, target, position).
    """

    slices: Tensor | None
    embeddings: Tensor | None
    masks: Tensor
    boxes: Tensor
    owner: Tensor
    extent: Tensor
    union: Tensor
    names: tuple[tuple[str, ...], ...]

    @property
    def images(self) -> int:
        """Return the number of images."""
        return len(self.extent)

    @property
    def objects(self) -> int:
        """Return the number of objects."""
        return len(self.masks)

    def inside(self) -> Tensor:
        """Return a boolean (B, R, R): what is image and not padding."""
        steps = torch.arange(self.masks.shape[-1], device=self.extent.device)
        rows, columns = (steps < self.extent[:, axis, None] for axis in (0, 1))
        return rows[:, :, None] & columns[:, None]

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)
