"""The models of this family."""

from __future__ import annotations

from dataclasses import replace

from promptseg.models.card import ModelCard
from promptseg.models.families.sam.cards import CARDS as SAM_CARDS
from promptseg.models.families.words.concepts import CONCEPTS

__all__ = ["CARDS"]

_LITE = next(card for card in SAM_CARDS if card.name == "promptseg-lite")

CARDS: tuple[ModelCard, ...] = (
    replace(
        _LITE,
        name="promptseg-words",
        title="promptseg-lite with a head for twelve words; it refuses others",
        build="build_words",
        prompts=_LITE.prompts | {"text"},
        weights="promptseg-words",
        source="recipes/words; NOTICE names the authors of the images",
        weak_at="cells that touch, nerves, vertebrae; vocal folds, tools and tubes of other "
        "patients than the one it knows; nuclei in stained tissue or blood; sarcomas on CT; which "
        "nerve, vessel or vertebra it is; tumours other than soft-tissue sarcomas",
        words=tuple(concept.name for concept in CONCEPTS),
        family="words",
    ),
)
