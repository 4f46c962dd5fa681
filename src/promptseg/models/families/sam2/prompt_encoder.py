"""SAM 2's prompt encoder: that of SAM, but boxes are two clicks of kinds of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptseg.models.families.sam.layers import LayerNorm2d
from promptseg.models.families.sam.prompt_encoder import RandomFourierPosition

__all__ = ["BOTTOM_RIGHT", "IGNORED", "TOP_LEFT", "PromptEncoder"]

IGNORED, TOP_LEFT, BOTTOM_RIGHT = -1, 2, 3
"""Labels of clicks besides 0 (outside) and 1 (inside)."""


class PromptEncoder(nn.Module):
    """Clicks, box corners and mask logits become embeddings.

    Args:
        image_size: pixels along each side of the network's input.
        grid: length of the image embedding's side.
        channels: channels of the embeddings.
        mask_channels: hidden channels of the mask path.
    """

    def __init__(
        self, image_size: int, grid: int, channels: int = 256, mask_channels: int = 16
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
        """(1, C, grid, grid) position of every embedding cell."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centres = torch.arange(self.grid, device=matrix.device, dtype=matrix.dtype) + 0.5
        y, x = torch.meshgrid(centres / self.grid, centres / self.grid, indexing="ij")
        position: Tensor = self.pe_layer(torch.stack([x, y], dim=-1))
        return position.permute(2, 0, 1)[None]

    def forward(
        self, points: tuple[Tensor, Tensor] | None, masks: Tensor | None, count: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Embed the prompts of B objects.

        Args:
            points: (B, N, 2) x, y pixel indices of the network's input and (B, N) labels: 0, 1, or one
                of `IGNORED`, `TOP_LEFT`, `BOTTOM_RIGHT`.
            masks: (B, 1, 4 * grid, 4 * grid) mask logits.
            count: B where nothing is given.

        Returns:
            Sparse (B, N + 1, C), the last of which says nothing, or (B, 0, C) without points; and dense
            (B, C, grid, grid) embeddings.
        """
        empty = self.no_mask_embed.weight
        given = points[0] if points else masks
        batch = count if given is None else given.shape[0]
        sparse = (
            empty.new_empty(batch, 0, self.channels) if points is None else self._embed(*points)
        )
        if masks is not None:
            return sparse, self.mask_downscaling(masks)
        return sparse, empty.view(1, -1, 1, 1).expand(batch, -1, self.grid, self.grid)

    def _embed(self, xy: Tensor, labels: Tensor) -> Tensor:
        """(B, N, 2), (B, N) -> (B, N + 1, C): what the label means, at its place."""
        xy = torch.cat([xy, xy.new_zeros(xy.shape[0], 1, 2)], dim=1)
        labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), IGNORED)], dim=1).long()
        kinds = [self.not_a_point_embed, *self.point_embeddings]
        learned = torch.cat([kind.weight for kind in kinds])[labels + 1]
        position = self.pe_layer((xy + 0.5) / self.image_size)
        return torch.where(labels[..., None] == IGNORED, learned, position + learned)
