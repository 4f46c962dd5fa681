"""The SAM-1 family: image encoder, prompt encoder and mask decoder, assembled by constructor."""

from promptseg.models.sam.build import Sam, build_lite_medsam, build_mobile_sam

__all__ = ["Sam", "build_lite_medsam", "build_mobile_sam"]
