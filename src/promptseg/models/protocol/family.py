"""Families of networks: each knows its models, their checkpoints, and how they are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from promptseg.models.card import ModelCard
from promptseg.models.protocol.slices import SliceModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Family", "SelfReading"]


class Family(Protocol):
    """One family. It is imported to list models, so it loads torch only where it must."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Return the cards of its models; their `family` is its name in `promptseg.models.families`."""

    @property
    def extra(self) -> str:
        """Return the extra of this package that its networks need; empty where they need none."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Return the prefixes of tensors that its checkpoints hold and its networks do not use."""

    def claims(self, names: Iterable[str]) -> bool:
        """Tell whether tensors of these names may be a checkpoint of this family."""

    def clean(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of a checkpoint of this family to the network's own names; drop those not
        used.
        """

    def network(self, build: str) -> nn.Module:
        """Build a network with random weights.

        Args:
            build: which, as `ModelCard.build` says.
        """

    def model(self, card: ModelCard, network: Any, device: torch.device) -> SliceModel:
        """Make a network a model.

        Args:
            card: of the model.
            network: the network itself, in evaluation mode, or the runner that stands for it where
                it has a rewrite for inference.
            device: where it is.
        """


@runtime_checkable
class SelfReading(Family, Protocol):
    """A family that knows what is around its networks in a file, and what lies beside one."""

    def read(self, tensors: Mapping[str, Tensor], content: Any, path: Path) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint of this family under the network's own names.

        Args:
            tensors: all there are.
            content: what the file holds.
            path: the file.

        Raises:
            ModelError: something is missing that the file cannot be used without.
        """
