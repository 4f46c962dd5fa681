"""SAM's prompt encoder: clicks, boxes and mask logits become embeddings (Kirillov et al., 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from promptseg.models.families.sam.layers import LayerNorm2d

__all__ = ["PromptEmbeddings", "PromptEncoder", "RandomFourierPosition"]

_NEGATIVE, _POSITIVE, _TOP_LEFT, _BOTTOM_RIGHT = range(4)


class RandomFourierPosition(nn.Module):
    """Positions in [0, 1]^2 as sines and cosines of random frequencies."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))
        self.positional_encoding_gaussian_matrix: Tensor

    def forward(self, positions: Tensor) -> Tensor:
        """Map (..., 2) positions x, y in [0, 1] to (..., 2 * features)."""
        matrix = self.positional_encoding_gaussian_matrix
        phase = 2 * math.pi * ((2 * positions.to(matrix.dtype) - 1) @ matrix)
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class PromptEmbeddings(nn.Module):
    """Learnt parts of the prompt encoders of SAM and SAM 2, under the same names.

    Args:
        image_size: pixels along each side of the network's input.
        grid: length of the image embedding's side.
        channels: channels of the embeddings.
        mask_channels: hidden channels of the mask path.
    """

    def __init__(
        self, image_size: int, grid: int = 64, channels: int = 256, mask_channels: int = 16
    ) -> None:
        super().__init__()
        self.image_size, self.grid, self.channels = image_size, grid, channels
        self.pe_layer = RandomFourierPosition(channels // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, 2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def dense_position(self) -> Tensor:
        """Return the positional encoding of every embedding cell, (1, C, grid, grid)."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centres = torch.arange(self.grid, device=matrix.device, dtype=matrix.dtype) + 0.5
        y, x = torch.meshgrid(centres / self.grid, centres / self.grid, indexing="ij")
        position: Tensor = self.pe_layer(torch.stack([x, y], dim=-1))
        return position.permute(2, 0, 1)[None]

    def dense(self, masks: Tensor | None, batch: int) -> Tensor:
        """Embed mask logits (B, 1, 4 * grid, 4 * grid), or none, as (B, C, grid, grid)."""
        if masks is not None:
            embedded: Tensor = self.mask_downscaling(masks)
            return embedded
        weight = self.no_mask_embed.weight
        return weight.view(1, -1, 1, 1).expand(batch, -1, self.grid, self.grid)


class PromptEncoder(PromptEmbeddings):
    """Sparse prompts (clicks, box corners) and dense ones (mask logits)."""

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embed the prompts of B objects.

        Args:
            points: (B, N, 2) x, y pixel indices of the network's input and (B, N) labels 1 / 0,
                or -1 for a place to be ignored.
            boxes: (B, 4) x0, y0, x1, y1 pixel indices of the network's input.
            masks: (B, 1, 4 * grid, 4 * grid) mask logits.

        Returns:
            Sparse (B, tokens, C) and dense (B, C, grid, grid) embeddings.
        """
        sparse = []
        if points is not None:
            sparse.append(self._embed_points(*points, pad=boxes is None))
        if boxes is not None:
            sparse.append(self._embed_boxes(boxes))
        given = next((p for p in (boxes, masks) if p is not None), points[0] if points else None)
        batch = 1 if given is None else given.shape[0]
        weight = self.no_mask_embed.weight
        tokens = torch.cat(sparse, dim=1) if sparse else weight.new_empty(batch, 0, self.channels)
        return tokens, self.dense(masks, batch)

    def _position(self, xy: Tensor) -> Tensor:
        """Position of pixel indices: their centres, half a pixel on."""
        position: Tensor = self.pe_layer((xy + 0.5) / self.image_size)
        return position

    def _embed_points(self, xy: Tensor, labels: Tensor, pad: bool) -> Tensor:
        if pad:
            xy = torch.cat([xy, xy.new_full((xy.shape[0], 1, 2), -0.5)], dim=1)
            labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), -1)], dim=1)
        kinds = labels[..., None]
        learned = self.not_a_point_embed.weight.expand(*labels.shape, -1)
        for label, row in ((0, _NEGATIVE), (1, _POSITIVE)):
            learned = torch.where(kinds == label, self._learned(row), learned)
        return torch.where(kinds == -1, learned, self._position(xy) + learned)

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        corners = self._position(boxes.view(-1, 2, 2))
        return corners + torch.cat([self._learned(_TOP_LEFT), self._learned(_BOTTOM_RIGHT)])

    def _learned(self, row: int) -> Tensor:
        weight = self.point_embeddings[row].weight
        assert isinstance(weight, Tensor)
        return weight
