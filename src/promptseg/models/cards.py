"""What each model is: its card. Importing this module loads no network and no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from promptseg.errors import ModelError
from promptseg.models.preprocess import Preprocessing

__all__ = ["CARDS", "ModelCard", "find_card", "models_that_take"]


@dataclass(frozen=True)
class ModelCard:
    """A model's facts.

    Attributes:
        name: what users call it.
        title: one line.
        build: name of its constructor in `promptseg.models.sam`.
        preprocessing: how slices become its input.
        prompts: kinds of prompts it was trained for.
        modalities: what it was trained on.
        weights: asset with its weights.
        licence: of the weights.
        source: where they come from.
        citation: what to cite.
        weak_at: what not to trust it with.
        propagate: how its masks reach the next slice unless told otherwise (see
            `promptseg.segment.projection`).
        keep_8bit: whether its training left 8-bit pictures unchanged (see `promptseg.intensity`).
    """

    name: str
    title: str
    build: str
    preprocessing: Preprocessing
    prompts: frozenset[str]
    modalities: str
    weights: str
    licence: str
    source: str
    citation: str
    weak_at: str
    propagate: str = "box"
    keep_8bit: bool = False


CARDS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            name="lite-medsam",
            title="LiteMedSAM: MedSAM distilled into TinyViT, 256 pixels (the default)",
            build="build_lite_medsam",
            preprocessing=Preprocessing(256, "minmax"),
            prompts=frozenset({"box"}),
            modalities="CT, MR, PET, US, XR, MG, OCT, endoscopy, dermoscopy, fundus, pathology, "
            "microscopy",
            weights="lite-medsam",
            licence="Apache-2.0",
            source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
            citation="Ma et al., Nature Communications 15, 654 (2024)",
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
            modalities="natural photographs; no medical images",
            weights="mobile-sam",
            licence="Apache-2.0",
            source="https://github.com/ChaoningZhang/MobileSAM",
            citation="Zhang et al., arXiv:2306.14289 (2023)",
            weak_at="weak boundaries and low contrast, as it never saw medical images",
        ),
    )
}


def find_card(name: str) -> ModelCard:
    """The card of a named model.

    Raises:
        ModelError: no such model; close names are offered.
    """
    if name in CARDS:
        return CARDS[name]
    close = get_close_matches(name, CARDS, n=1)
    raise ModelError(
        f"a model out of {', '.join(CARDS)}, or a checkpoint file",
        repr(name),
        f"did you mean {close[0]}?" if close else "see promptseg models",
    )


def models_that_take(kinds: Collection[str]) -> list[str]:
    """Names of the models trained for all these kinds of prompts."""
    return [card.name for card in CARDS.values() if set(kinds) <= card.prompts]
