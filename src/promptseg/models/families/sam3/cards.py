"""The models of this family."""

from __future__ import annotations

from typing import Any

from promptseg.models.card import ModelCard
from promptseg.models.preprocess import Preprocessing

__all__ = ["CARDS", "TRACKER_CARDS"]

_COMMON: dict[str, Any] = {
    "prompts": frozenset({"box", "text"}),
    "propagate": "none",
    "untested": True,
    "family": "sam3",
}
# what its evaluation asks for, and of which images; the whole list has not been published
_ASKED = (
    ("retinal blood vessel", ("fundus",)),
    ("polyp", ("endoscopy",)),
    ("skin lesion", ("dermoscopy",)),
    ("thyroid nodule", ("US",)),
    ("fetal head", ("US",)),
    ("cell nucleus", ("microscopy", "pathology")),
)
_MEDICAL: dict[str, Any] = {
    **_COMMON,
    "licence": "SAM License (of SAM 3, from which it is made); MIT by its tag (they conflict)",
    "source": "https://huggingface.co/ChongCong/Medical-SAM3",
    "citation": "Medical SAM3: a foundation model for universal prompt-driven medical image "
    "segmentation (2026)",
    "words": tuple(word for word, _ in _ASKED),
    "seen_in": _ASKED,
    "weak_at": "words it was not trained on; its file has not been seen here, so nothing was tried "
    "with it",
}

CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="sam3",
        published_as="SAM3",
        title="SAM 3: any number of instances of a phrase, general domain, 1008 pixels",
        build="sam3",
        preprocessing=Preprocessing(1008, "halves", "stretch-rounded"),
        modalities="natural photographs and videos; no medical images",
        weights="sam3",
        licence="SAM License (gated)",
        source="https://huggingface.co/facebook/sam3",
        citation="Carion et al., SAM 3: segment anything with concepts (2025)",
        weak_at="names of anatomy, as it never saw medical images with them; slow without a GPU; its "
        "file has not been seen here, so nothing was tried with it",
        **_COMMON,
    ),
    ModelCard(
        name="medical-sam3",
        published_as="Medical SAM3",
        title="Medical SAM3: SAM 3 trained on medical images with words, 1008 pixels",
        build="sam3",
        preprocessing=Preprocessing(1008, "halves", "stretch-rounded"),
        modalities="33 data sets of 10 modalities, by its paper's summary",
        weights="medical-sam3",
        kinds=("picture",),
        **_MEDICAL,
    ),
    ModelCard(
        name="medical-sam3-3d",
        title="Medical SAM3 trained on clips of volumes with words, 504 pixels",
        build="sam3-504",
        preprocessing=Preprocessing(504, "halves", "stretch-rounded"),
        modalities="CT, MR, PET, US, microscopy",
        weights="medical-sam3-3d",
        kinds=("volume",),
        **_MEDICAL,
    ),
    ModelCard(
        name="medical-sam3-lora",
        title="Medical SAM3, 3D, with its adapter for 2D images, 504 pixels",
        build="sam3-504",
        preprocessing=Preprocessing(504, "halves", "stretch-rounded"),
        modalities="CT, MR, PET, US, microscopy",
        weights="medical-sam3-lora",
        kinds=("picture",),
        **_MEDICAL,
    ),
)

TRACKER_CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="sam3-tracker",
        title="SAM 3's tracker: an object by clicks or a box, with memory, general domain, 1008 pixels",
        build="sam3",
        preprocessing=Preprocessing(1008, "halves", "stretch-rounded"),
        prompts=frozenset({"box", "point", "mask"}),
        modalities="natural photographs and videos; no medical images",
        weights="sam3",
        licence="SAM License (gated)",
        source="https://huggingface.co/facebook/sam3",
        citation="Carion et al., SAM 3: segment anything with concepts (2025)",
        weak_at="weak boundaries and low contrast, as it never saw medical images; slow without a GPU; "
        "its file has not been seen here, so nothing was tried with it",
        propagate="memory",
        untested=True,
        family="sam3-tracker",
    ),
)
