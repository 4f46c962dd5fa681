"""Specialists for boxes: how they are recognised and built, by the card beside their weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.models.card import ModelCard
from promptseg.models.protocol.family import SelfReading

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from promptseg.models.families.sam.model import SamModel
    from promptseg.models.families.specialist.build import BoxChannel

__all__ = ["FAMILY"]

_PART = "boxed."


class SpecialistFamily:
    """DeepLabV3+ and Swin UNETR with a channel for a box. None has weights before it is trained."""

    cards: tuple[ModelCard, ...] = ()
    unused: tuple[str, ...] = ()
    extra = ""

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`."""
        return any(name.startswith(_PART) for name in names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        return {name: value for name, value in tensors.items() if name.startswith(_PART)}

    def read(self, tensors: Mapping[str, Tensor], content: Any, path: Path) -> dict[str, Tensor]:
        """See `SelfReading`."""
        return self.clean(tensors)

    def network(self, build: str) -> BoxChannel:
        """See `Family`; `build` is name, side and features, as `boxed_card` writes them."""
        from promptseg.models.families.specialist.build import BoxChannel
        from promptseg.models.heads.semantic.specialist_networks import specialist_network

        name, side, features = build.split(":")
        network = specialist_network(name, 1, 4, int(features), int(side))
        return BoxChannel(network, int(side))

    def model(self, card: ModelCard, network: Any, device: torch.device) -> SamModel:
        """See `Family`."""
        from promptseg.models.families.sam.model import SamModel

        return SamModel(card, network, device, network.side)


FAMILY: SelfReading = SpecialistFamily()
