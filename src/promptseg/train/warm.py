"""Going on with a training elsewhere: from float16 weights and the number of updates behind them.

Where `last.pt` cannot go, because it is large or the machine computes otherwise, a training begins anew
with a new optimizer, whose steps grow over some updates. Order and chance are functions of seed and
update, so that no image comes twice in an epoch for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from promptseg.errors import InputError
from promptseg.train.release import write_safetensors

__all__ = ["WARM", "read_warm", "restore", "write_warm"]

WARM = "warm.safetensors"
_SCHEMA = "promptseg warm restart 1"


def write_warm(path: Path, tensors: Mapping[str, Tensor], updates: int) -> None:
    """Write weights in float16 where they fit, 20 MB for MobileSAM's.

    Raises:
        OutputError: no space, or no right to; the file that was there before stays.
    """
    small = {name: _small(tensor) for name, tensor in tensors.items()}
    write_safetensors(path, small, {"schema": _SCHEMA, "updates": str(updates)})


def read_warm(path: Path) -> tuple[dict[str, Tensor], int]:
    """Read what `write_warm` has written: weights, and how many updates they have behind them.

    Raises:
        InputError: no such file, a damaged one, or one of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get("schema") != _SCHEMA:
                raise ValueError(f"schema {facts.get('schema')}")
            updates = int(facts["updates"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"weights for a warm restart ({WARM} of a training)",
            f"{path} ({str(error).splitlines()[0][:120]})",
            "correct --warm-start",
        ) from None
    return tensors, updates


@torch.no_grad()
def restore(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> list[str]:
    """Put weights back; those that float16 cannot tell from the module's present ones stay exact.

    So parts that never learnt are those of the start bit for bit, and embeddings kept of it are valid.

    Args:
        module: with the starting weights.
        tensors: of `read_warm`.
        path: where they are from, for messages.

    Returns:
        The names of the tensors that differ from the start.

    Raises:
        InputError: weights of another network.
    """
    own = module.state_dict()
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in tensors.items()}:
        raise InputError(
            "the weights of the model that is trained", f"{path} of another", "correct --warm-start"
        )
    changed = [k for k, v in own.items() if not torch.equal(_small(v), tensors[k])]
    for name in changed:
        own[name].copy_(tensors[name])
    return changed


def _small(tensor: Tensor) -> Tensor:
    """On the CPU, whole, and in float16 if it is of floats that all fit."""
    value = tensor.detach().cpu().contiguous()
    small = value.half() if value.is_floating_point() else value
    return small if small.isfinite().all() else value.float()
