"""Doubles of the kinds that no network of ours is yet: a reader of words, a semantic model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fakes import BrightEmbedding, BrightModel
from promptseg.errors import PromptError
from promptseg.models.protocol import Embedding, Instance, Patch
from promptseg.prompts import box_of_mask


class BrightWords(BrightModel):
    """ "bright" means every bright patch; a larger one is surer. Nothing else means anything."""

    def find(self, embedding: Embedding, phrase: str, at_least: float = 0.5) -> list[Instance]:
        if not phrase.strip():
            raise PromptError("a phrase", repr(phrase), "say what to look for")
        if phrase != "bright":
            return []
        assert isinstance(embedding, BrightEmbedding)
        labels, count = ndimage.label(embedding.pixels.numpy() >= self.level)
        found = []
        for k in range(1, count + 1):
            mask: NDArray[np.bool_] = labels == k
            box = box_of_mask(mask)
            assert box
            found.append(Instance(mask, float(1 - 1 / (1 + mask.sum())), box))
        found.sort(key=lambda instance: -instance.score)
        return [instance for instance in found if instance.score >= at_least]


class BrightClasses:
    """Dark, bright or neither, voxel by voxel."""

    classes = ("bright", "dark")

    def __init__(self, *shape: int) -> None:
        self.patch = Patch(shape)

    def classify(self, patches: NDArray[np.float32]) -> Tensor:
        x = torch.from_numpy(patches)
        return torch.stack([torch.full_like(x, 0.2), x - 0.5, 0.5 - x], dim=1)
