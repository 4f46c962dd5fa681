"""SAM 2's prompt encoder: that of SAM, but boxes are two clicks of kinds of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from promptseg.models.families.sam.prompt_encoder import PromptEmbeddings

__all__ = ["BOTTOM_RIGHT", "IGNORED", "TOP_LEFT", "PromptEncoder"]

IGNORED, TOP_LEFT, BOTTOM_RIGHT = -1, 2, 3
"""Labels of clicks besides 0 (outside) and 1 (inside)."""


class PromptEncoder(PromptEmbeddings):
    """Clicks, box corners and mask logits become embeddings."""

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
        return sparse, self.dense(masks, batch)

    def _embed(self, xy: Tensor, labels: Tensor) -> Tensor:
        """(B, N, 2), (B, N) -> (B, N + 1, C): what the label means, at its place."""
        xy = torch.cat([xy, xy.new_zeros(xy.shape[0], 1, 2)], dim=1)
        labels = torch.cat([labels, labels.new_full((labels.shape[0], 1), IGNORED)], dim=1).long()
        kinds = [self.not_a_point_embed, *self.point_embeddings]
        learned = torch.cat([kind.weight for kind in kinds])[labels + 1]
        position = self.pe_layer((xy + 0.5) / self.image_size)
        return torch.where(labels[..., None] == IGNORED, learned, position + learned)
