"""The models of this family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptseg.models.calibration import IouMap
from promptseg.models.card import ModelCard, TrainedOn
from promptseg.models.preprocess import Preprocessing

__all__ = ["CARDS", "LITE_SAW"]

_SAM = "https://github.com/facebookresearch/segment-anything"
_SAM_CITATION = "Kirillov et al., Segment anything, ICCV 2023"
_MEDICAL = "CT, MR, PET, US, XR, MG, OCT, endoscopy, dermoscopy, fundus, pathology, microscopy"
_PHOTOGRAPHS = "natural photographs; no medical images"
_WEAK_OUTSIDE = "weak boundaries and low contrast, as it never saw medical images"

# How models that take mask prompts propagate an object: measured with mobile-sam over all modes
# (benchmarks/volumes.py --modes), taken over for the others.
_BY_MASK: dict[str, Any] = {"propagate": "box+mask", "margin": 0.0, "margin_pixels": 0.0}

_BUNDLED = Path(__file__).resolve().parents[3] / "assets" / "bundled"
LITE_SAW = TrainedOn(
    str(_BUNDLED / "promptseg_lite.trained_on.csv"),
    "3e9c452d11a1026d64f9babccbe9394eaf3cb6f0633f310a5162eb83305a0a5c",
    1396,
)
"""The training and validation part of the collection of recipes/lite, which all that comes with the
package was trained on."""


CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="lite-medsam",
        title="LiteMedSAM: MedSAM distilled into TinyViT, 256 pixels (the default)",
        build="build_lite_medsam",
        preprocessing=Preprocessing(256, "minmax"),
        prompts=frozenset({"box"}),
        modalities=_MEDICAL,
        weights="lite-medsam",
        licence="Apache-2.0",
        source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
        citation="Ma et al., Nature Communications 15, 654 (2024)",
        low_quality=0.74,
        keep_8bit=True,
        weak_at="vessels and other thin or branching targets, rings, scattered lesions, targets "
        "of a few pixels at 256 pixels per side",
    ),
    ModelCard(
        name="mobile-sam",
        title="MobileSAM: general-domain SAM with TinyViT, 1024 pixels",
        build="build_mobile_sam",
        preprocessing=Preprocessing(1024, "imagenet"),
        prompts=frozenset({"box", "point", "mask"}),
        modalities=_PHOTOGRAPHS,
        weights="mobile-sam",
        licence="Apache-2.0",
        source="https://github.com/ChaoningZhang/MobileSAM",
        citation="Zhang et al., arXiv:2306.14289 (2023)",
        low_quality=0.77,
        **_BY_MASK,
        weak_at=_WEAK_OUTSIDE,
    ),
    ModelCard(
        name="promptseg-lite",
        title="MobileSAM trained further on medical images of open licences, 1024 pixels; preliminary",
        build="build_mobile_sam",
        preprocessing=Preprocessing(1024, "imagenet"),
        prompts=frozenset({"box", "point", "mask"}),
        modalities="US, MR, CT, PET, endoscopy, microscopy; before that natural photographs",
        weights="promptseg-lite",
        licence="Apache-2.0",
        source="recipes/lite; NOTICE names the authors of the images",
        citation="Zhang et al., arXiv:2306.14289 (2023)",
        low_quality=0.66,
        calibration=(IouMap("click", slope=0.917, shift=-0.35),),
        trained_on=LITE_SAW,
        **_BY_MASK,
        weak_at="one click on stained tissue, where it gives a nucleus and mobile-sam the gland; exact "
        "boxes on X-rays, where lite-medsam is better; one click on thin or scattered things",
    ),
    *(
        ModelCard(
            name=f"sam-vit-{letter}",
            title=f"SAM with ViT-{letter.upper()}: general domain, 1024 pixels",
            build=f"build_sam_vit_{letter}",
            preprocessing=Preprocessing(1024, "imagenet"),
            prompts=frozenset({"box", "point", "mask"}),
            modalities=_PHOTOGRAPHS,
            weights=f"sam-vit-{letter}",
            published_as=f"SAM1-{letter.upper()}",
            licence="Apache-2.0",
            source=_SAM,
            citation=_SAM_CITATION,
            **_BY_MASK,
            weak_at=_WEAK_OUTSIDE + slow,
        )
        for letter, slow in (
            ("b", ""),
            ("l", "; slow without a GPU"),
            ("h", "; slow without a GPU"),
        )
    ),
    ModelCard(
        name="medsam-vit-b",
        title="MedSAM: SAM's ViT-B trained on 1.5 million medical masks, boxes only",
        build="build_sam_vit_b",
        preprocessing=Preprocessing(1024, "minmax", "squash"),
        prompts=frozenset({"box"}),
        modalities=_MEDICAL,
        weights="medsam-vit-b",
        published_as="MedSAM",
        licence="Apache-2.0",
        source="https://github.com/bowang-lab/MedSAM",
        citation="Ma et al., Nature Communications 15, 654 (2024)",
        weak_at="clicks and mask prompts; vessels and other thin or branching targets; boxes that "
        "hold several objects",
    ),
    ModelCard(
        name="medicosam-vit-b",
        title="MedicoSAM: SAM's ViT-B trained on medical images with every kind of prompt",
        build="build_sam_vit_b",
        preprocessing=Preprocessing(1024, "imagenet"),
        prompts=frozenset({"box", "point", "mask"}),
        modalities="CT, MR, PET, US, XR, endoscopy, dermoscopy, fundus, microscopy (SA-Med2D-20M)",
        weights="medicosam-vit-b",
        licence="MIT (of the repository that publishes them)",
        source="https://github.com/computational-cell-analytics/medico-sam",
        citation="Archit et al., MedicoSAM, IEEE Transactions on Medical Imaging (2025)",
        weak_at="thin or branching targets from a single box",
        **_BY_MASK,
    ),
)
