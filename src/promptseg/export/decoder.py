"""Prompts and mask decoder as one network of plain tensors, for engines that know nothing of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.runtime.rewrite import FusedSam

__all__ = ["PromptedDecoder"]

_KINDS = 4  # negative click, positive click, top left, bottom right: labels 0 to 3


class PromptedDecoder(nn.Module):
    """A decoder that turns an embedding and prompts into masks; labels as in SAM's official ONNX model.

    Args:
        network: the prepared network it shares its weights with.
    """

    def __init__(self, network: FusedSam) -> None:
        super().__init__()
        prompts = network.prompt_encoder
        assert isinstance(prompts, PromptEncoder)
        self.size = prompts.image_size
        self.position, self.downscaling = prompts.pe_layer, prompts.mask_downscaling
        known = torch.cat([kind.weight for kind in prompts.point_embeddings])  # type: ignore[misc]
        self.register_buffer("known", known.detach().clone())
        self.register_buffer("padding", prompts.not_a_point_embed.weight.detach().clone())
        self.register_buffer("no_mask", prompts.no_mask_embed.weight.detach().view(1, -1, 1, 1))
        self.known: Tensor  # (4, C): what each label means
        self.padding: Tensor  # (1, C)
        self.no_mask: Tensor  # (1, C, 1, 1)
        self.decoder = network.mask_decoder

    def forward(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        mask_logits: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compute all masks of N prompts on one image.

        Args:
            embedding: (1, C, h, w) image embedding.
            points: (N, P, 2) x, y pixel indices of the network's input.
            labels: (N, P) float32: 1 a click on the object, 0 a click beside it, 2 and 3 the top left
                and bottom right corner of a box; anything else is padding.
            mask_logits: (N, 1, 4h, 4w) mask prompts.
            has_mask: (N,) float32, 1 where the mask prompt counts and 0 where it does not.

        Returns:
            (N, 4, 4h, 4w) mask logits and (N, 4) predicted IoU: first the answer to an unambiguous
            prompt, then the multimask output of a single point.
        """
        kinds = torch.arange(_KINDS, dtype=labels.dtype, device=labels.device)
        chosen = (labels[..., None] == kinds).to(points.dtype)  # (N, P, 4), one-hot
        given = chosen.sum(-1, keepdim=True)
        place = self.position((points + 0.5) / self.size) * given
        sparse = place + chosen @ self.known + (1 - given) * self.padding
        here = has_mask[:, None, None, None] > 0
        dense = torch.where(here, self.downscaling(mask_logits), self.no_mask)
        logits, iou = self.decoder(embedding, sparse, dense)
        return logits, iou
