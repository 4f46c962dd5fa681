"""The same numbers in every run: operations that add in no fixed order are replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["deterministic"]


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Switch to torch's deterministic operations for as long as it takes.

    On a CPU with several threads, the gradient of picking rows adds atomically, and so in chance order;
    on a GPU several operations do. An operation that has no other way raises an error: torch only
    warns of it if told so, but then its attention stays in chance order as well.

    Args:
        wanted: whether to do so at all.
    """
    if not wanted:
        yield
        return
    settings: Any = torch.utils.deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        settings.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # a check that costs time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = before[2]
