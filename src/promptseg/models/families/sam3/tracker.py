"""SAM 3's tracker: one object by clicks or a box, and its memory, on the networks of SAM 2.

The image encoder is that of the detector with a second neck (`sam2_convs`). Of propagated frames memory
takes those alone on which the object is surely there (SAM2Long's rule, as the official builder of
videos sets it), and forgets those around a frame that somebody says something of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.models.card import ModelCard
from promptseg.models.families.sam3.cards import TRACKER_CARDS
from promptseg.models.families.sam3.keys import OWN_TRACKER_TRUNK, tracker_names
from promptseg.models.protocol.family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from promptseg.models.families.sam2.model import Sam2Model
    from promptseg.models.families.sam2.network import Sam2

__all__ = ["FAMILY"]


class Sam3TrackerFamily:
    """The tracker out of files of SAM 3, by its name alone: else they are taken for the detector."""

    cards: tuple[ModelCard, ...] = TRACKER_CARDS
    unused: tuple[str, ...] = ()
    extra = "sam3"

    def claims(self, names: Iterable[str]) -> bool:
        """See `Family`: weights that were written here."""
        return OWN_TRACKER_TRUNK in set(names)

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        return tracker_names(tensors)

    def read(self, tensors: Mapping[str, Tensor], content: Any, path: Path) -> dict[str, Tensor]:
        """See `SelfReading`."""
        return tracker_names(tensors)

    def network(self, build: str) -> Sam2:
        """See `Family`; `build` is one of `promptseg.models.families.sam3.build.SHAPES`."""
        from promptseg.models.families.sam3.build import SHAPES
        from promptseg.models.families.sam3.tracker_network import tracker_of

        return tracker_of(SHAPES[build])

    def model(self, card: ModelCard, network: Any, device: torch.device) -> Sam2Model:
        """See `Family`."""
        from promptseg.models.families.sam2.model import Sam2Model

        return Sam2Model(card, network, device)


FAMILY: Family = Sam3TrackerFamily()
