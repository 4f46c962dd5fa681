"""Eager torch: device, threads, and rewrites that keep the numbers and save time."""

from __future__ import annotations

import os
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from promptseg.errors import InputError
from promptseg.models.sam.tiny_vit import ConvBN
from promptseg.runtime.allocator import keep_freed_memory

__all__ = ["choose_device", "prepare", "set_threads"]

N = TypeVar("N", bound=nn.Module)


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        InputError: a device this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("not a device for inference")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError("a device of this machine", f"{name!r} ({reason})", "try cpu") from None
    return device


def set_threads(threads: int | None = None) -> int:
    """Use `threads` CPU threads, else PROMPTSEG_THREADS, else torch's own choice; returns them.

    Raises:
        InputError: not a number above 0.
    """
    wanted = threads if threads is not None else os.environ.get("PROMPTSEG_THREADS")
    if wanted is not None:
        try:
            count = int(wanted)
        except ValueError:
            count = 0
        if count < 1:
            raise InputError("a number of threads above 0", repr(wanted), "leave it out")
        torch.set_num_threads(count)
    return torch.get_num_threads()


def prepare(network: N, device: torch.device) -> N:
    """Make a network ready to run: batch normalisation folded into convolutions, channels last.

    The network is changed in place and can no longer be saved under official names. Embeddings stay
    within a few 1e-6 of the plain network.
    """
    if device.type == "cpu":
        keep_freed_memory()
    _fuse(network)
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _fuse(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, ConvBN):
            setattr(module, name, fuse_conv_bn_eval(child.c, child.bn))
        else:
            _fuse(child)
