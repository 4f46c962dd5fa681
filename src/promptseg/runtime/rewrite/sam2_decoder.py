"""SAM 2's mask decoder for inference: SAM's, with the finer features, and whether the object is there.

Finer features are added where sub-pixels still lie beside the pixel they came from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam2.mask_decoder import MaskDecoder
from promptseg.runtime.rewrite.mask_decoder import FusedMaskDecoder, as_linear, tokens_of

__all__ = ["FusedSam2Decoder"]


class FusedSam2Decoder(FusedMaskDecoder):
    """The mask decoder for inference.

    Args:
        decoder: the decoder it takes its weights from, in evaluation mode.
        position: (1, C, h, w) dense position.
    """

    def __init__(self, decoder: MaskDecoder, position: Tensor) -> None:
        first = decoder.obj_score_token.weight
        super().__init__(decoder, position, first)
        up2 = decoder.output_upscaling[3]
        assert isinstance(up2, nn.ConvTranspose2d)
        self.up2 = as_linear(up2)
        self.presence = decoder.pred_obj_score_head

    def forward(  # type: ignore[override]
        self, coarse: Tensor, fine: Tensor, middle: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return all masks of B objects on one frame.

        Args:
            coarse: (1 or B, C, h, w) features of the frame, conditioned on memory or not.
            fine: (1, C / 8, 4 h, 4 w), see `MaskDecoder.narrow`.
            middle: (1, C / 4, 2 h, 2 w).
            sparse: (B, tokens, C) prompt embeddings.
            dense: (1 or B, C, h, w) prompt embeddings, or (1 or B, C, 1, 1) where all places have one.

        Returns:
            (B, 4, 4 h, 4 w) mask logits, (B, 4) predicted IoU, (B, 4, C) tokens of the masks, (B, 1)
            logit that the object is there.
        """
        h, w = (int(n) for n in coarse.shape[-2:])
        tokens, image = self.attended(tokens_of(coarse) + tokens_of(dense), sparse)
        masks = tokens[:, 2 : 2 + self.count]
        places = h * w
        up = self.up1(image).view(-1, places * 4, self.up_norm.normalized_shape[0])
        up = up + beside(middle.permute(0, 2, 3, 1)).view(1, places * 4, -1)
        up = self.up2(F.gelu(self.up_norm(up))).view(-1, places * 16, int(fine.shape[1]))
        finest = beside(beside(fine.permute(0, 2, 3, 1))).view(1, places * 16, -1)
        up = F.gelu(up + finest)
        weights = torch.stack([mlp(masks[:, k]) for k, mlp in enumerate(self.hypernetworks)], dim=1)
        logits = self.placed(weights @ up.transpose(-1, -2), h, w)
        return logits, self.quality(tokens[:, 1]).sigmoid(), masks, self.presence(tokens[:, 0])


def beside(x: Tensor) -> Tensor:
    """Map (B, 2 h, 2 w, C) to (B, h, w, 4 C), the four sub-pixels of each pixel beside each other."""
    h, w, channels = (int(n) for n in x.shape[1:])
    x = x.reshape(-1, h // 2, 2, w // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, h // 2, w // 2, 4 * channels)
