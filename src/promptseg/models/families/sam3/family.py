"""How the models of this family are recognised and built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from promptseg.models.card import ModelCard
from promptseg.models.families.sam3.cards import CARDS
from promptseg.models.families.sam3.keys import own_names, prefix_of
from promptseg.models.protocol.family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from promptseg.models.families.sam3.model import Sam3Model

__all__ = ["FAMILY"]


class Sam3Family:
    """SAM 3, Medical SAM3 and what is fine-tuned from them: the detector of instances."""

    cards: tuple[ModelCard, ...] = CARDS
    unused: tuple[str, ...] = ("tracker",)
    extra = "sam3"

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`."""
        return prefix_of(names) is not None

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        return own_names(tensors)

    def network(self, build: str) -> nn.Module:
        """See `Family`; `build` is one of `promptseg.models.families.sam3.build.SHAPES`."""
        from promptseg.models.families.sam3.build import build_sam3

        return build_sam3(build)

    def model(self, card: ModelCard, network: Any, device: torch.device) -> Sam3Model:
        """See `Family`."""
        from promptseg.models.families.sam3.model import Sam3Model

        return Sam3Model(card, network, device)


FAMILY: Family = Sam3Family()
