"""Which steps the optimizer takes with which parameters."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import nn

from promptseg.train.objectives.settings import Preset, Rates

__all__ = ["groups_of"]

_ENCODER, _TRUNK = "image_encoder.", "image_encoder.trunk."


def groups_of(
    network: nn.Module, parameters: dict[str, nn.Parameter], strategy: Preset
) -> list[dict[str, Any]]:
    """The parameters as an optimizer takes them: together what takes the same steps.

    Args:
        network: whose they are.
        parameters: what learns, by name.
        strategy: says how.

    Returns:
        Groups with `params`, `weight_decay`, and `share`: of the learning rate.
    """
    rates = strategy.rates
    if rates.decays_norms and rates.encoder == rates.layer == 1:
        return [{"params": list(parameters.values())}]
    norms = {
        f"{name}.{own}"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.LayerNorm)
        for own, _ in layer.named_parameters(recurse=False)
    }
    numbers = [number for name, _ in network.named_parameters() if (number := _block(name)) >= 0]
    blocks = 1 + max(numbers, default=-1)
    together: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        bare = not rates.decays_norms and (name in norms or "bias" in name)
        together[_share(name, blocks, rates), bare].append(parameter)
    return [
        {"params": those, "weight_decay": 0.0 if bare else strategy.weight_decay, "share": share}
        for (share, bare), those in together.items()
    ]


def _share(name: str, blocks: int, rates: Rates) -> float:
    """Of the learning rate: less the earlier a parameter of the trunk is, but for positions."""
    if not name.startswith(_ENCODER):
        return 1.0
    if not name.startswith(_TRUNK) or "pos_embed" in name:
        return rates.encoder
    return rates.encoder * rates.layer ** (blocks - _block(name))


def _block(name: str) -> int:
    """Number of the block of the trunk that a parameter is of; -1 before the first."""
    rest = name.removeprefix(f"{_TRUNK}blocks.")
    return int(rest.partition(".")[0]) if rest != name else -1
