"""Steps of the optimizer, for each group of parameters."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import nn

from promptseg.train.networks import WordSam3
from promptseg.train.objectives.settings import Preset, Rates

__all__ = ["adamw", "groups_of"]


class _Encoder(NamedTuple):
    """Where the image encoder of a family is, by beginnings of names.

    Attributes:
        whole: with its neck.
        trunk: without.
        blocks: of the trunk, before their numbers.
    """

    whole: str
    trunk: str
    blocks: str


_USUAL = _Encoder("image_encoder.", "image_encoder.trunk.", "image_encoder.trunk.blocks.")
_SAM3 = _Encoder("vision_encoder.", "vision_encoder.backbone.", "vision_encoder.backbone.layers.")
_POSITIONS = ("pos_embed", "position_embeddings")


def adamw(
    network: nn.Module, parameters: dict[str, nn.Parameter], strategy: Preset
) -> torch.optim.AdamW:
    """Return the optimizer of a training; arguments as of `groups_of`."""
    return torch.optim.AdamW(
        groups_of(network, parameters, strategy),
        lr=strategy.learning_rate,
        weight_decay=strategy.weight_decay,
    )


def groups_of(
    network: nn.Module, parameters: dict[str, nn.Parameter], strategy: Preset
) -> list[dict[str, Any]]:
    """Return the parameters in groups for an optimizer: those of a group take the same steps.

    Args:
        network: whose they are.
        parameters: what learns, by name.
        strategy: says how.

    Returns:
        Groups with `params`, `weight_decay`, and `share`: of the learning rate.
    """
    rates = strategy.rates
    if rates.decays_norms and rates.encoder == rates.layer == 1 and not rates.parts:
        return [{"params": list(parameters.values())}]
    norms = {
        f"{name}.{own}"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.LayerNorm)
        for own, _ in layer.named_parameters(recurse=False)
    }
    encoder = _SAM3 if isinstance(network, WordSam3) else _USUAL
    blocks = 1 + max((_block(name, encoder) for name, _ in network.named_parameters()), default=-1)
    together: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        bare = not rates.decays_norms and (name in norms or "bias" in name)
        together[_share(name, encoder, blocks, rates), bare].append(parameter)
    return [
        {"params": those, "weight_decay": 0.0 if bare else strategy.weight_decay, "share": share}
        for (share, bare), those in together.items()
    ]


def _share(name: str, encoder: _Encoder, blocks: int, rates: Rates) -> float:
    """Of the learning rate: less the earlier a parameter of the trunk is, but for positions."""
    if not name.startswith(encoder.whole):
        return next((share for begins, share in rates.parts if name.startswith(begins)), 1.0)
    if not name.startswith(encoder.trunk) or any(word in name for word in _POSITIONS):
        return rates.encoder
    return rates.encoder * rates.layer ** (blocks - _block(name, encoder))


def _block(name: str, encoder: _Encoder) -> int:
    """Number of the block of the trunk that a parameter is of; -1 before the first."""
    rest = name.removeprefix(encoder.blocks)
    return int(rest.partition(".")[0]) if rest != name else -1
