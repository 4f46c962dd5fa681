"""The SAM-1 family: image encoder, prompt encoder and mask decoder, assembled by constructor."""

from promptseg.models.families.sam.build import (
    Sam,
    build_lite_medsam,
    build_mobile_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
)

__all__ = [
    "Sam",
    "build_lite_medsam",
    "build_mobile_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
]
