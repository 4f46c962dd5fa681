"""Our SAM networks with the attributes and methods that tools use of the official `Sam`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg.errors import ModelError
from promptseg.models.checkpoint import read_checkpoint, require_numbers
from promptseg.models.families import sam as networks
from promptseg.models.families.sam.family import UNUSED
from promptseg.models.families.sam.mask_decoder import MaskDecoder, TwoWayTransformer
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam.vit import ViT

__all__ = [
    "Sam",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]


class OfficialPromptEncoder(PromptEncoder):
    """The prompt encoder with its official names."""

    def get_dense_pe(self) -> Tensor:
        """Return the positional encoding of every embedding cell, (1, C, grid, grid)."""
        return self.dense_position()

    @property
    def embed_dim(self) -> int:
        """Return the number of channels of the embeddings."""
        return self.channels

    @property
    def input_image_size(self) -> tuple[int, int]:
        """Return the rows and columns of the network's input."""
        return (self.image_size, self.image_size)

    @property
    def image_embedding_size(self) -> tuple[int, int]:
        """Return the rows and columns of the image embedding."""
        return (self.grid, self.grid)

    @property
    def mask_input_size(self) -> tuple[int, int]:
        """Return the rows and columns of a mask prompt."""
        return (4 * self.grid, 4 * self.grid)


class OfficialMaskDecoder(MaskDecoder):
    """The mask decoder with the official names of its arguments."""

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """See `MaskDecoder.forward`; (B, 1 or 3, 256, 256) mask logits, (B, 1 or 3) predicted IoU."""
        return super().forward(
            image_embeddings,
            image_pe,
            sparse_prompt_embeddings,
            dense_prompt_embeddings,
            multimask_output,
        )


class Sam(networks.Sam):
    """A SAM as the official package has it.

    Args:
        image_encoder: for 1024 pixels.

    Attributes:
        mask_threshold: logits above it are inside.
        image_format: order of colours that the network was trained on.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"

    def __init__(self, image_encoder: ViT | TinyViT) -> None:
        super().__init__(image_encoder, OfficialPromptEncoder(image_encoder.img_size))
        self.mask_decoder = OfficialMaskDecoder(TwoWayTransformer())
        self.img_size = image_encoder.img_size
        mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])
        self.register_buffer("pixel_mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(-1, 1, 1), persistent=False)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor

    @property
    def device(self) -> torch.device:
        """Return the device that the network is on."""
        return self.pixel_mean.device

    def preprocess(self, x: Tensor) -> Tensor:
        """Convert colours (..., 3, h, w) of 0..255 to normalised ones, with zeros up to 1024 x 1024."""
        x = (x - self.pixel_mean) / self.pixel_std
        rows, columns = x.shape[-2:]
        return F.pad(x, (0, self.img_size - columns, 0, self.img_size - rows))

    def postprocess_masks(
        self, masks: Tensor, input_size: Sequence[int], original_size: Sequence[int]
    ) -> Tensor:
        """Scale mask logits (B, C, m, m) to the original image, (B, C, H, W), bilinearly.

        Args:
            masks: of the mask decoder.
            input_size: rows and columns that the image takes in the network's input.
            original_size: H, W.
        """
        masks = F.interpolate(masks, (self.img_size, self.img_size), mode="bilinear")
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, tuple(original_size), mode="bilinear")

    @torch.no_grad()
    def forward(
        self, batched_input: Sequence[Mapping[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Return masks of several images with their prompts.

        Args:
            batched_input: one mapping per picture: `image` (3, h, w) and `original_size` (H, W); any
                of `point_coords` (B, N, 2) with `point_labels` (B, N), `boxes` (B, 4) and
                `mask_inputs` (B, 1, 256, 256). Images and coordinates are resized already.
            multimask_output: three masks per prompt instead of one.

        Returns:
            One dict per picture: `masks` (B, C, H, W) boolean, `iou_predictions` (B, C) and
            `low_res_logits` (B, C, 256, 256).
        """
        batch = torch.stack([self.preprocess(record["image"]) for record in batched_input])
        results = []
        for record, embedding in zip(batched_input, self.encode(batch), strict=True):
            points = record.get("point_coords")
            logits, quality = self.decode(
                embedding[None],
                None if points is None else (points, record["point_labels"]),
                record.get("boxes"),
                record.get("mask_inputs"),
                multimask_output,
            )
            size = record["image"].shape[-2:]
            masks = self.postprocess_masks(logits, size, record["original_size"])
            results.append(
                {
                    "masks": masks > self.mask_threshold,
                    "iou_predictions": quality,
                    "low_res_logits": logits,
                }
            )
        return results

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load parameters as every module does, without the ImageNet classifier in MobileSAM's file."""
        kept = {k: v for k, v in state_dict.items() if not k.startswith(UNUSED)}
        return super().load_state_dict(kept, strict, assign)


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Sam:
    """Return SAM with ViT-H, with the weights of an official file if one is given."""
    return _build(networks.build_sam_vit_h, checkpoint)


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Sam:
    """Return SAM with ViT-L, with the weights of an official file if one is given."""
    return _build(networks.build_sam_vit_l, checkpoint)


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Sam:
    """Return SAM with ViT-B, with the weights of SAM, MedSAM or MedicoSAM if a file is given."""
    return _build(networks.build_sam_vit_b, checkpoint)


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Sam:
    """Return MobileSAM, with the weights of an official file if one is given."""
    return _build(networks.build_mobile_sam, checkpoint)


build_sam = build_sam_vit_h

sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam_vit_h,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_t": build_sam_vit_t,
}


def _build(build: Callable[[], networks.Sam], checkpoint: str | Path | None) -> Sam:
    encoder = build().image_encoder
    assert isinstance(encoder, ViT | TinyViT)
    model = Sam(encoder).eval()
    if checkpoint is not None:
        try:
            tensors = read_checkpoint(Path(checkpoint))
            model.load_state_dict(tensors)
            require_numbers(tensors, Path(checkpoint))
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()[:120]
            raise ModelError(
                f"a checkpoint for {build.__name__}",
                f"{checkpoint} ({reason})",
                "see promptseg models",
            ) from None
    return model
