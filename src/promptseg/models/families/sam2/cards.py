"""The models of this family."""

from __future__ import annotations

from typing import Any

from promptseg.models.card import ModelCard
from promptseg.models.families.sam.cards import LITE_SAW
from promptseg.models.preprocess import Preprocessing

__all__ = ["CARDS"]

_EVERY_KIND = frozenset({"box", "point", "mask"})
_SIZES = {"t": "Hiera tiny", "s": "Hiera small", "b": "Hiera base plus", "l": "Hiera large"}
_COMMON: dict[str, Any] = {
    "preprocessing": Preprocessing(1024, "imagenet", "stretch"),
    "prompts": _EVERY_KIND,
    "modalities": "natural photographs and videos; no medical images",
    "licence": "Apache-2.0",
    "source": "https://github.com/facebookresearch/sam2",
    "citation": "Ravi et al., SAM 2: segment anything in images and videos, arXiv:2408.00714 (2024)",
    "propagate": "memory",
    "family": "sam2",
}
_WEAK = "weak boundaries and low contrast, as it never saw medical images"

CARDS: tuple[ModelCard, ...] = (
    *(
        ModelCard(
            name=f"{version}-{size}",
            title=f"{title} with {trunk}: general domain, 1024 pixels, with a memory of objects",
            build=f"{version}-{size}",
            weights=f"{version}-{size}",
            published_as=f"SAM2-{size.upper()}" if version == "sam2" else "",
            weak_at=_WEAK + ("" if size in "ts" else "; slow without a GPU"),
            **_COMMON,
        )
        for version, title in (("sam2", "SAM 2"), ("sam2.1", "SAM 2.1"))
        for size, trunk in _SIZES.items()
    ),
    ModelCard(
        **{
            **_COMMON,
            "preprocessing": Preprocessing(512, "imagenet", "stretch-cubic"),
            "modalities": "CT, MR, PET, US, endoscopy; before that natural photographs and videos",
            "licence": "CC-BY-SA-4.0 by its tag, research and education only by its page (they "
            "conflict)",
            "source": "https://huggingface.co/wanglab/MedSAM2",
            "citation": "Ma et al., MedSAM2: segment anything in 3D medical images and videos, "
            "arXiv:2504.03600 (2025)",
        },
        name="medsam2",
        title="MedSAM2: SAM 2.1 tiny trained on volumes and videos, 512 pixels, with memory",
        build="medsam2",
        weights="medsam2",
        weak_at="objects without a box; vessels and other thin or branching targets; targets of a few "
        "pixels at 512 pixels per side",
    ),
    *(
        ModelCard(
            **{
                **_COMMON,
                "preprocessing": Preprocessing(side, "imagenet", "stretch"),
                "source": "https://huggingface.co/yunyangx/efficient-track-anything",
                "citation": "Xiong et al., Efficient Track Anything, arXiv:2411.18933 (2024)",
            },
            name=f"efficienttam-{size}{suffix}",
            title=f"EfficientTAM, plain ViT-{trunk}: general domain, {side} pixels, with a memory of "
            "objects",
            build=f"efficienttam-{size}{suffix}",
            weights=f"efficienttam-{size}{suffix}",
            weak_at=_WEAK + "; thin targets, as it has no features finer than 16 pixels",
        )
        for suffix, side in (("", 1024), ("-512", 512))
        for size, trunk in (("ti", "Tiny"), ("s", "Small"))
    ),
    ModelCard(
        **{
            **_COMMON,
            "preprocessing": Preprocessing(512, "imagenet"),
            "modalities": "as promptseg-lite, whose encoder and decoder it has; its memory was trained "
            "on videos of vocal folds, sarcomas in CT, MR and PET, and pictures made to move",
            "source": "recipes/memory; NOTICE names the authors of the images",
            "trained_on": LITE_SAW,
            "citation": "Zhang et al., MobileSAM, arXiv:2306.14289 (2023), with memory after Ravi et "
            "al., arXiv:2408.00714 (2024)",
        },
        name="promptseg-memory",
        title="promptseg-lite with a memory of objects, 512 pixels; in the package",
        build="memory-sam",
        weights="promptseg-memory",
        weak_at="objects that leave the image, several that look alike, and where a volume's object "
        "ends",
    ),
)
