"""The SAM family: how its models are recognised and built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from promptseg.models.card import ModelCard
from promptseg.models.families.sam.cards import CARDS
from promptseg.models.protocol.family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from promptseg.models.families.sam.build import Sam
    from promptseg.models.families.sam.model import SamModel

__all__ = ["FAMILY", "UNUSED"]

UNUSED = ("image_encoder.norm_head.", "image_encoder.head.")  # MobileSAM's ImageNet classifier

_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_OTHERS = (
    *("image_encoder.trunk.", "image_encoder.neck.convs."),  # SAM 2's
    *(
        "mask_decoder.mask_embedder.",
        "mask_decoder.prompt_cross_attn",
        "mask_decoder.pixel_decoder.",
    ),
    *("mask_decoder.semantic_projection.", "mask_decoder.instance_projection."),  # SAM 3's
)


class SamFamily:
    """SAM, MobileSAM, MedSAM, LiteMedSAM, MedicoSAM and what is fine-tuned from them."""

    cards: tuple[ModelCard, ...] = CARDS
    unused: tuple[str, ...] = UNUSED
    extra = ""

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`."""
        return any(name.startswith(_PARTS) and not name.startswith(_OTHERS) for name in names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        return {name: tensor for name, tensor in tensors.items() if not name.startswith(UNUSED)}

    def network(self, build: str) -> Sam:
        """See `Family`; `build` is a constructor in `promptseg.models.families.sam.build`."""
        from promptseg.models.families.sam import build as builders

        network: Sam = getattr(builders, build)()
        return network

    def model(self, card: ModelCard, network: Any, device: torch.device) -> SamModel:
        """See `Family`."""
        from promptseg.models.families.sam.model import SamModel

        own: Sam = getattr(network, "network", network)  # of a runner, the network that it runs
        return SamModel(card, network, device, 4 * own.prompt_encoder.grid)


FAMILY: Family = SamFamily()
