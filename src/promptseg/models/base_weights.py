"""The model that small weights of the package are put on: heads for words, a memory of objects."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor

from promptseg.assets.store import fetch
from promptseg.errors import ModelError
from promptseg.models.storage import load_content
from promptseg.models.unwrap import all_tensors

__all__ = ["BASES", "base_tensors", "encoder_sha256"]

BASES = ("promptseg-lite",)
"""Models that others are put on: those that come with the package."""

_ENCODER = "image_encoder."


def base_tensors(base: str) -> dict[str, Tensor]:
    """Load the weights of a model that others are put on, downloaded where they are not at hand.

    Raises:
        ModelError: none of `BASES`.
    """
    if base not in BASES:
        raise ModelError(f"words on {' or '.join(BASES)}", repr(base), "use the file of a training")
    return all_tensors(load_content(fetch(base, quiet=True)))


def encoder_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the hash of an image encoder's weights as float16, by name and value."""
    digest = hashlib.sha256()
    for name in sorted(n for n in tensors if n.startswith(_ENCODER)):
        digest.update(name.encode())
        digest.update(tensors[name].detach().half().contiguous().numpy().tobytes())
    return digest.hexdigest()
