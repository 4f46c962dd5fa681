"""SAM 2's mask decoder: that of SAM with edges from finer features, and whether the object is there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import MLP
from promptseg.models.families.sam.mask_decoder import TwoWayTransformer, upscaling

__all__ = ["Decoded", "MaskDecoder", "asked_for"]

_MARGIN = 0.05  # of logits, between which a stable mask hardly changes
_STABLE = 0.98  # IoU of the masks at both ends of the margin


@dataclass(frozen=True)
class Decoded:
    """Answer of the decoder for B objects.

    Attributes:
        logits: (B, k, 4 h, 4 w) mask logits; k is 3 or 1.
        iou: (B, k) predicted IoU, 0..1.
        tokens: (B, k, C) what the transformer made of the masks' tokens.
        presence: (B, 1) logit that the object is on this frame at all.
    """

    logits: Tensor
    iou: Tensor
    tokens: Tensor
    presence: Tensor


class MaskDecoder(nn.Module):
    """Decoder of embeddings and prompts into mask logits.

    Mask 0 answers an unambiguous prompt. Where it is not stable, the best of the three masks of
    an ambiguous one stands in (the rule of SAM 2.1's predictors).

    Args:
        dim: channels of features.
        multimask_outputs: for an ambiguous prompt.
        iou_hidden: inside of what predicts IoU.
        finer: whether finer features add edges.
    """

    def __init__(
        self, dim: int = 256, multimask_outputs: int = 3, iou_hidden: int = 256, finer: bool = True
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(dim=dim)
        for layer in self.transformer.layers:  # SAM 2 names the two layers of it otherwise
            layer.mlp = MLP(dim, 2048, dim, 2)
        self.mask_count = multimask_outputs + 1
        self.obj_score_token = nn.Embedding(1, dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.mask_count, dim)
        self.output_upscaling = upscaling(dim)
        self.finer = finer
        if finer:
            self.conv_s0 = nn.Conv2d(dim, dim // 8, 1)
            self.conv_s1 = nn.Conv2d(dim, dim // 4, 1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(self.mask_count)
        )
        self.iou_prediction_head = MLP(dim, iou_hidden, self.mask_count, 3)
        self.pred_obj_score_head = MLP(dim, dim, 1, 3)

    def narrow(self, fine: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Project the two finer levels to the C / 8 and C / 4 channels that the decoder adds."""
        return self.conv_s0(fine), self.conv_s1(middle)

    def forward(
        self,
        coarse: Tensor,
        finer: tuple[Tensor, Tensor],
        position: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask: bool,
    ) -> Decoded:
        """Decode the masks of B objects on one frame.

        Args:
            coarse: (1 or B, C, h, w) features of the frame, conditioned on memory or not.
            finer: (1, C / 8, 4 h, 4 w) and (1, C / 4, 2 h, 2 w), see `narrow`; not looked at where
                none add edges.
            position: (1, C, h, w) dense position.
            sparse: (B, tokens, C) prompt embeddings.
            dense: (B, C, h, w) prompt embeddings.
            multimask: three masks instead of one.
        """
        own = torch.cat(
            [self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight]
        )
        tokens = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        source = coarse + dense
        size = source.shape[-2:]
        tokens, source = self.transformer(source, position.expand_as(source), tokens)
        masks = tokens[:, 2 : 2 + self.mask_count]
        weights = torch.stack(
            [mlp(masks[:, k]) for k, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        upscaled = self._upscale(source.transpose(1, 2).unflatten(2, size), *finer)
        logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        iou = self.iou_prediction_head(tokens[:, 1]).sigmoid()
        presence = self.pred_obj_score_head(tokens[:, 0])
        if self.training and not multimask:
            return Decoded(logits[:, :1], iou[:, :1], masks[:, :1], presence)
        return asked_for(logits, iou, masks, presence, multimask)

    def _upscale(self, source: Tensor, fine: Tensor, middle: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C / 8, 4 h, 4 w), with the finer levels added on the way."""
        if not self.finer:
            alone: Tensor = self.output_upscaling(source)
            return alone
        up1, norm, act, up2, _ = self.output_upscaling
        upscaled = act(norm(up1(source) + middle))
        return F.gelu(up2(upscaled) + fine)


def asked_for(
    logits: Tensor, iou: Tensor, tokens: Tensor, presence: Tensor, multimask: bool
) -> Decoded:
    """Choose the multimask output or the single mask of all four; see `Decoded` for the shapes."""
    if multimask:
        return Decoded(logits[:, 1:], iou[:, 1:], tokens[:, 1:], presence)
    return Decoded(*_stable(logits, iou), tokens[:, :1], presence)


def _stable(logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1 + k, h, w) and (B, 1 + k) -> mask 0, or the best of the others where it is not stable."""
    alone, others = logits[:, :1], logits[:, 1:]
    best = iou[:, 1:].argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    inner = (alone > _MARGIN).sum((-1, -2)).float()
    outer = (alone > -_MARGIN).sum((-1, -2)).float()
    stable = torch.where(outer > 0, inner / outer, 1.0) >= _STABLE
    mask = torch.where(stable[..., None, None], alone, others[rows, best][:, None])
    return mask, torch.where(stable, iou[:, :1], iou[:, 1:][rows, best][:, None])
