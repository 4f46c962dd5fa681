"""A file of low-rank updates (LoRA, Hu et al., 2021) merged into the weights that lie beside it.

The published adapter has not been seen: pairs are found by their names alone, `NAME.lora_A[.default]
[.weight]` (rank, columns) and `lora_B` (rows, rank), under official names or those here. The factor is
`alpha / rank` where the file says alpha, else 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from promptseg.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["is_adapter", "merged"]

_PAIR = re.compile(r"^(?P<name>.+?)\.lora_(?P<which>[ABab])(?:\.default)?(?:\.weight)?$")
_AROUND = re.compile(r"^(?:base_model\.)?(?:model\.)?(?:module\.)?(?:detector(?:_model)?\.)?")
_ALPHA = ("lora_alpha", "alpha")


def is_adapter(names: Collection[str]) -> bool:
    """Tell whether tensors of these names are low-rank updates alone, and no network."""
    return bool(names) and all(_PAIR.match(name) for name in names)


def merged(
    base: Mapping[str, Tensor], updates: Mapping[str, Tensor], content: Any, where: str
) -> dict[str, Tensor]:
    """Return a network's weights with the adapter's updates added to them.

    Args:
        base: under the names that the updates go by: official ones without what is around them.
        updates: the adapter's tensors.
        content: of its file, for the factor.
        where: the file, for messages.

    Raises:
        ModelError: half a pair, a weight that is not there, or shapes that do not fit.
    """
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in updates.items():
        match = _PAIR.match(name)
        assert match, "an adapter"
        pairs.setdefault(_AROUND.sub("", match["name"]), {})[match["which"].upper()] = tensor
    found = dict(base)
    for name, pair in pairs.items():
        weight = f"{name}.weight" if f"{name}.weight" in base else name
        if pair.keys() != {"A", "B"} or weight not in base:
            raise ModelError(
                "pairs lora_A and lora_B for weights of the model it was made for",
                f"{where}: {name} ({' and '.join(sorted(pair))})",
                "use the adapter with the weights it was published for",
            )
        down, up = pair["A"].float(), pair["B"].float()
        fits = down.ndim == up.ndim == 2 and len(down) == up.shape[1]
        if not fits or (len(up), down.shape[1]) != tuple(base[weight].shape):
            raise ModelError(
                f"an update of {weight}, {tuple(base[weight].shape)}",
                f"{where}: {tuple(up.shape)} times {tuple(down.shape)}",
                "use the adapter with the weights it was published for",
            )
        found[weight] = base[weight].float() + _factor(content, len(down)) * (up @ down)
    return found


def _factor(content: Any, rank: int) -> float:
    """alpha / rank, where the file says alpha at its top or in a configuration."""
    if not isinstance(content, Mapping):
        return 1.0
    for place in (content, *(content.get(k) for k in ("config", "lora_config", "peft_config"))):
        for key in _ALPHA:
            value = place.get(key) if isinstance(place, Mapping) else None
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value) / rank
    return 1.0
