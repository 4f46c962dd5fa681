"""The last step of every rewrite: weights taken over, frozen, and laid out for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from promptseg.runtime.allocator import keep_freed_memory

__all__ = ["made_ready"]

_Rewritten = TypeVar("_Rewritten", bound=nn.Module)


def made_ready(
    rewrite: Callable[[Any], _Rewritten], network: nn.Module, device: torch.device
) -> _Rewritten:
    """Make the rewrite of a network, ready to run on a device.

    Args:
        rewrite: the class of the rewritten network, which is made of the plain one.
        network: the plain one; it is set to evaluation.
        device: where it is to run.
    """
    if device.type == "cpu":
        keep_freed_memory()
    with torch.no_grad():
        ready = rewrite(network.eval()).eval().requires_grad_(False).to(device)
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready
