"""Models of this family: how they are recognised and built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.assets.store import asset_named
from promptseg.errors import ModelError
from promptseg.models.card import ModelCard
from promptseg.models.families.sam3.adapter import is_adapter, merged
from promptseg.models.families.sam3.cards import CARDS
from promptseg.models.families.sam3.keys import own_names, prefix_of, without_prefix
from promptseg.models.protocol.family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from promptseg.models.families.sam3.model import Sam3Model

__all__ = ["ADAPTED", "FAMILY"]

ADAPTED = "medical-sam3-3d"
"""The asset that the published adapter is for."""


class Sam3Family:
    """SAM 3, Medical SAM3 and what is fine-tuned from them: the detector of instances."""

    cards: tuple[ModelCard, ...] = CARDS
    unused: tuple[str, ...] = ("tracker",)
    extra = "sam3"

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`."""
        names = list(names)
        return prefix_of(names) is not None or is_adapter(names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        return own_names(tensors)

    def read(self, tensors: Mapping[str, Tensor], content: Any, path: Path) -> dict[str, Tensor]:
        """See `SelfReading`: an adapter is merged into the weights that it was published for."""
        if not is_adapter(tensors):
            return own_names(tensors)
        from promptseg.models.storage import load_content
        from promptseg.models.unwrap import all_tensors

        base = path.with_name(asset_named(ADAPTED).file)
        if not base.is_file():
            raise ModelError(
                f"{base.name} beside the adapter that changes it",
                f"none in {path.parent}",
                f"get it from {asset_named(ADAPTED).homepage}",
            )
        weights = without_prefix(all_tensors(load_content(base)))
        return own_names(merged(weights, tensors, content, str(path)))

    def network(self, build: str) -> nn.Module:
        """See `Family`; `build` is one of `promptseg.models.families.sam3.build.SHAPES`."""
        from promptseg.models.families.sam3.build import build_sam3

        return build_sam3(build)

    def model(self, card: ModelCard, network: Any, device: torch.device) -> Sam3Model:
        """See `Family`."""
        from promptseg.models.families.sam3.model import Sam3Model

        return Sam3Model(card, network, device)


FAMILY: Family = Sam3Family()
