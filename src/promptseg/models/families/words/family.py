"""Models for words: how they are recognised and built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.errors import ModelError
from promptseg.models.card import ModelCard
from promptseg.models.families.words.cards import CARDS
from promptseg.models.protocol.family import SelfReading

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from promptseg.models.families.words.model import WordsModel
    from promptseg.models.families.words.network import WordsSam

__all__ = ["FAMILY"]

_HEAD = "words."


class WordsFamily:
    """Heads for words on the embeddings of another model."""

    cards: tuple[ModelCard, ...] = CARDS
    unused: tuple[str, ...] = ()
    extra = ""

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`."""
        return any(name.startswith(_HEAD) for name in names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        return dict(tensors)

    def read(self, tensors: Mapping[str, Tensor], content: Any, path: Path) -> dict[str, Tensor]:
        """See `SelfReading`: a head is read with the base that it was trained on."""
        from promptseg.models.families.words.file import on_base

        return on_base(tensors, path)

    def network(self, build: str) -> WordsSam:
        """See `Family`."""
        from promptseg.models.families.words.network import build_words

        return build_words()

    def model(self, card: ModelCard, network: Any, device: torch.device) -> WordsModel:
        """See `Family`.

        Raises:
            ModelError: a head for other words than the card says.
        """
        from promptseg.models.families.words.model import WordsModel

        head = network.words if hasattr(network, "words") else network.network.words
        if head.vocabulary.names != card.words:
            raise ModelError(
                f"weights for the words of {card.name} ({', '.join(card.words)})",
                f"weights for {', '.join(head.vocabulary.names) or 'none'}",
                "keep weights and card.json of one training together",
            )
        return WordsModel(card, network, device, head)


FAMILY: SelfReading = WordsFamily()
