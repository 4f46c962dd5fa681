"""A temporary folder that nobody else can look into."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["private_folder"]


@contextmanager
def private_folder() -> Iterator[Path]:
    """Provide a temporary folder that only this user can enter; gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="promptseg-") as name:  # mode 0700
        yield Path(name)
