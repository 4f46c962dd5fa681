"""Failures of engines: for their own sake, or because the machine was short of something."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import torch
from torch import nn

from promptseg.assets import cache_folder
from promptseg.formats.memory import available_bytes

__all__ = ["in_trouble"]

_SPARE = 256 << 20  # bytes beside the weights


def in_trouble(error: BaseException, network: nn.Module) -> bool:
    """Tell whether a failure may pass with the machine's state, so that nothing is to be concluded
    from it.

    Compilers wrap what the system told them, or say it in words of their own; so the error's causes are
    looked at, and then the cache folder and the memory themselves.

    Args:
        error: what an engine raised.
        network: what it was to run.
    """
    return any(map(_passes, _causes(error))) or not _has_room(_weights(network))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _passes(error: BaseException) -> bool:
    if isinstance(error, subprocess.CalledProcessError):
        return error.returncode < 0  # killed
    kinds = (OSError, MemoryError, subprocess.TimeoutExpired, torch.OutOfMemoryError)
    return isinstance(error, kinds) and not isinstance(error, FileNotFoundError)


def _has_room(weights: int) -> bool:
    """Whether a copy of the weights fits into memory, and into a cache folder that can be written."""
    memory = available_bytes()
    if memory is not None and memory < 2 * weights + _SPARE:
        return False
    folder = cache_folder()
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
        return shutil.disk_usage(folder).free >= 2 * weights + _SPARE
    except OSError:
        return False


def _weights(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.state_dict().values())
