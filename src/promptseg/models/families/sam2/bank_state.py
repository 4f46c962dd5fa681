"""A memory bank as arrays of numbers, bit for bit: what a run that was cut off goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.models.families.sam2.bank import Bank, Remembered
from promptseg.models.families.sam2.network import Seen

__all__ = ["as_arrays", "fill"]

_SHELVES = {"conditioning": "conditioning", "followed": "propagated"}
"""Name in the arrays, as they lie on disks -> attribute of a bank."""
_HALVES = np.dtype(np.uint16)  # bits of bfloat16, which NumPy does not know


def as_arrays(bank: Bank) -> dict[str, NDArray[Any]]:
    """Return all that a bank remembers as arrays; the order of its frames counts and is kept."""
    arrays: dict[str, NDArray[Any]] = {}
    for shelf, attribute in _SHELVES.items():
        frames: dict[int, Remembered] = getattr(bank, attribute)
        arrays[shelf] = np.array(
            [(at, one.prompted, one.map is not None) for at, one in frames.items()], np.int64
        ).reshape(-1, 3)
        for at, one in frames.items():
            tensors = {**one.seen._asdict(), "map": one.map}
            for name, tensor in tensors.items():
                if tensor is not None:
                    arrays[f"{shelf}.{at}.{name}"] = _bits(tensor)
    return arrays


def fill(bank: Bank, arrays: Mapping[str, NDArray[Any]], device: torch.device) -> None:
    """Put what `as_arrays` gave into an empty bank."""
    for shelf, attribute in _SHELVES.items():
        frames: dict[int, Remembered] = getattr(bank, attribute)
        for at, prompted, mapped in arrays[shelf].tolist():
            stored = {
                name: _tensor(arrays[f"{shelf}.{at}.{name}"], device)
                for name in (*Seen._fields, *(["map"] if mapped else []))
            }
            map_ = stored.pop("map", None)
            frames[at] = Remembered(Seen(**stored), map_, bool(prompted))


def _bits(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    return tensor.numpy()


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array.copy())
    return (tensor.view(torch.bfloat16) if array.dtype == _HALVES else tensor).to(device)
