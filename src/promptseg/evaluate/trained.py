"""Facts on the images that the models under test were trained on, as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from promptseg import assets
from promptseg.errors import InputError
from promptseg.models.cards import ModelCard, TrainedOn
from promptseg.models.heads.semantic.card import SemanticCard

__all__ = ["lists_of", "unknown_lists"]


def lists_of(cards: Mapping[str, ModelCard | SemanticCard]) -> tuple[TrainedOn, ...]:
    """Return the lists of training images that some models come with, as far as they are there.

    Args:
        cards: of the models, by the names that messages call them.

    Raises:
        InputError: a list that is not the one the card describes.
    """
    found = []
    for name, card in cards.items():
        listed = card.trained_on
        if listed is None or not Path(listed.file).is_file():
            continue
        if assets.sha256_of(Path(listed.file)) != listed.sha256:
            raise InputError(
                f"the list of images that the card of {name} describes",
                f"{listed.file}, which was changed",
                "get the weights and what lies beside them again",
            )
        found.append(listed)
    return tuple(dict.fromkeys(found))


def unknown_lists(cards: Mapping[str, ModelCard | SemanticCard]) -> list[str]:
    """Return warnings about fine-tuned models whose training images are not known."""
    return [
        f"{name} was fine-tuned, and nothing beside its weights lists the images it was trained on: "
        "whether some of these are among them is not known; give the manifest.csv of its collection "
        "with --leaks"
        for name, card in cards.items()
        if card.base and (card.trained_on is None or not Path(card.trained_on.file).is_file())
    ]
