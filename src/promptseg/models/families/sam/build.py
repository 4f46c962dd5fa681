"""A SAM put together from its parts, and the named ones."""

from __future__ import annotations

from torch import Tensor, nn

from promptseg.models.families.sam.mask_decoder import MaskDecoder, TwoWayTransformer
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam.vit import ViT

__all__ = [
    "Sam",
    "build_lite_medsam",
    "build_mobile_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
]


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder under the official parameter names."""

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = MaskDecoder(TwoWayTransformer())

    def encode(self, slices: Tensor, parallel: bool = False) -> Tensor:
        """Map (B, 3, S, S) preprocessed slices to (B, 256, 64, 64) embeddings, from any thread."""
        embedding: Tensor = self.image_encoder(slices)
        return embedding

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Map embeddings and prompts to mask logits and predicted IoU; see the two parts for shapes."""
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        logits, quality = self.mask_decoder(
            embedding, self.prompt_encoder.dense_position(), sparse, dense, multimask
        )
        return logits, quality


def build_lite_medsam() -> Sam:
    """Build LiteMedSAM: TinyViT on 256 pixels without striding in the patch embedding."""
    return Sam(TinyViT(256, patch_stride=1), PromptEncoder(256))


def build_mobile_sam() -> Sam:
    """Build MobileSAM: TinyViT on 1024 pixels."""
    return Sam(TinyViT(1024, patch_stride=4), PromptEncoder(1024))


def build_sam_vit_b() -> Sam:
    """Build SAM with ViT-B, as MedSAM and MedicoSAM use it too."""
    return Sam(ViT(768, depth=12, heads=12, whole=(2, 5, 8, 11)), PromptEncoder(1024))


def build_sam_vit_l() -> Sam:
    """Build SAM with ViT-L."""
    return Sam(ViT(1024, depth=24, heads=16, whole=(5, 11, 17, 23)), PromptEncoder(1024))


def build_sam_vit_h() -> Sam:
    """Build SAM with ViT-H."""
    return Sam(ViT(1280, depth=32, heads=16, whole=(7, 15, 23, 31)), PromptEncoder(1024))
