"""Low-rank updates of attention weights (LoRA, Hu et al., 2021) that merge back without a trace.

The update is a parametrisation of the weight: the layer keeps its class, and `merge` leaves the plain
weight W + scale * B A under its own name, so that a checkpoint has the official names and shapes.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["ATTENTION", "LowRank", "add_low_rank", "merge", "merged_state"]

ATTENTION = ("qkv", "proj")
"""What the linear layers of attention are called in the encoders of SAM."""
_OURS = ".parametrizations.weight."


class LowRank(nn.Module):
    """A weight plus the product of two thin matrices, zero at the start.

    Args:
        rows: outputs of the layer.
        columns: inputs of the layer.
        rank: of the update.
        scale: factor of the update.
    """

    def __init__(self, rows: int, columns: int, rank: int, scale: float = 1.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Map (rows, columns) to the same shape."""
        return weight + self.scale * (self.b @ self.a)


def add_low_rank(
    encoder: nn.Module, rank: int, layers: Collection[str] = ATTENTION
) -> list[nn.Parameter]:
    """Give the linear layers of an encoder's attention an update of low rank; freeze all else in it.

    Args:
        encoder: an image encoder.
        rank: of the updates.
        layers: names of its linear layers of attention.

    Returns:
        The new parameters.
    """
    encoder.requires_grad_(False)
    added: list[nn.Parameter] = []
    for name, layer in encoder.named_modules():
        if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in layers:
            update = LowRank(layer.out_features, layer.in_features, rank).to(layer.weight)
            parametrize.register_parametrization(layer, "weight", update)
            added += [update.a, update.b]
    return added


def merge(module: nn.Module) -> None:
    """Put all updates into the weights, in place."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module, updates added to the weights, under plain names; the module stays
    as it is.
    """
    state = {k: v for k, v in module.state_dict().items() if _OURS not in k}
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            weight = layer.weight
            assert isinstance(weight, Tensor)
            state[f"{name}.weight"] = weight.detach()
    return state
