"""The SAM 2 family: how its models are recognised and built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from promptseg.models.card import ModelCard
from promptseg.models.families.sam2.cards import CARDS
from promptseg.models.protocol.family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from promptseg.models.families.sam2.memory_sam import MemorySam
    from promptseg.models.families.sam2.model import Sam2Model
    from promptseg.models.families.sam2.network import Sam2

__all__ = ["FAMILY"]

_PARTS = ("image_encoder.trunk.", "memory_attention.", "memory_encoder.", "sam_mask_decoder.")


class Sam2Family:
    """SAM 2, SAM 2.1, MedSAM2, a SAM with their memory, and what is fine-tuned from them."""

    cards: tuple[ModelCard, ...] = CARDS
    unused: tuple[str, ...] = ()
    extra = ""

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`."""
        return any(name.startswith(_PARTS) for name in names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`; a memory alone gets the SAM that it was made on."""
        from promptseg.models.families.sam2.memory_file import on_base

        return on_base(tensors)

    def network(self, build: str) -> Sam2 | MemorySam:
        """See `Family`; `build` is a name of `promptseg.models.families.sam2.build`."""
        from promptseg.models.families.sam2.build import build_sam2

        return build_sam2(build)

    def model(self, card: ModelCard, network: Any, device: torch.device) -> Sam2Model:
        """See `Family`."""
        from promptseg.models.families.sam2.model import Sam2Model

        return Sam2Model(card, network, device)


FAMILY: Family = Sam2Family()
