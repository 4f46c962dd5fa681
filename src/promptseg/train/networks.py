"""The networks that are trained here, under one name; and a SAM 3 as the loop takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam import Sam
from promptseg.models.families.sam3.layers import Layers, every_layer, read_phrases
from promptseg.models.families.specialist.build import BoxChannel
from promptseg.models.heads.semantic.network import SemanticNetwork
from promptseg.train.image_sam2 import ImageSam2

__all__ = ["Trainee", "WordSam3"]


class WordSam3(nn.Module):
    """A SAM 3 whose features are one tensor, under its own parameter names.

    Args:
        network: whose parameters it takes over: they are the same ones.
    """

    def __init__(self, network: nn.Module) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(network.__dict__)

    @property
    def image_encoder(self) -> nn.Module:
        """Return the encoder of images, with its neck."""
        return self.get_submodule("vision_encoder")

    @property
    def side(self) -> int:
        """Return the number of cells along each side of the grid that the logits are on."""
        config: Any = self.config
        return 4 * int(config.vision_config.backbone_feature_sizes[-1][0])

    def encode(self, slices: Tensor) -> Tensor:
        """Encode (B, 3, S, S) preprocessed slices as (B, 21 C, h, w): sub-pixels become channels."""
        fine, middle, coarse = self.image_encoder(slices).fpn_hidden_states[:3]
        return torch.cat([F.pixel_unshuffle(fine, 4), F.pixel_unshuffle(middle, 2), coarse], dim=1)

    def answer(self, embedding: Tensor, tokens: Tensor, boxes: Tensor, labels: Tensor) -> Layers:
        """Return the answers of all layers to P phrases, each on its image.

        Args:
            embedding: (P, 21 C, h, w), see `encode`.
            tokens: (P, L).
            boxes, labels: (P, N, 4) and (P, N) examples, see `every_layer`.
        """
        words = read_phrases(self, tokens)
        return every_layer(self, _levels(embedding), words, boxes, labels)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Copy parameters into those that are there, as an optimizer holds them."""
        return nn.Module.load_state_dict(self, state_dict, strict, assign)


def _levels(embedding: Tensor) -> Sequence[Tensor]:
    """The inverse of the packing in `WordSam3.encode`."""
    dim = embedding.shape[1] // 21
    fine, middle, coarse = embedding.split([16 * dim, 4 * dim, dim], dim=1)
    return F.pixel_shuffle(fine, 4), F.pixel_shuffle(middle, 2), coarse


Trainee = Sam | ImageSam2 | WordSam3 | BoxChannel | SemanticNetwork
