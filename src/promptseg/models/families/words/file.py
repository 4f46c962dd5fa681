"""Files of heads for words: the head alone, a few megabytes; its base comes from where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from promptseg.assets.store import fetch
from promptseg.errors import ModelError
from promptseg.models.families.words.network import HEAD, STATE, About, WordsHead
from promptseg.models.storage import load_content
from promptseg.models.unwrap import all_tensors

__all__ = ["BASES", "base_tensors", "encoder_sha256", "head_tensors", "on_base"]

BASES = ("promptseg-lite",)
"""Models whose embeddings heads look through: those that come with the package."""

_ENCODER = "image_encoder."


def base_tensors(base: str) -> dict[str, Tensor]:
    """Load the weights of the model that a head is put on, downloaded where they are not at hand.

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


def on_base(head: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Complete a head with the weights of the model that it was trained on.

    Raises:
        ModelError: no head, one that does not say its words, or one for other embeddings.
    """
    own = {name: value for name, value in head.items() if name.startswith(HEAD)}
    if STATE not in own:
        raise ModelError("a head that says its words", f"{where}, which does not", "get it again")
    about = About.unpacked(own[STATE], str(where))
    base = base_tensors(about.base)
    if encoder_sha256(base) != about.encoder_sha256:
        raise ModelError(
            f"a head trained on the embeddings of this version's {about.base}",
            f"{where}, on those of another image encoder",
            "teach the words again with promptseg train words",
        )
    return {**base, **own}


def head_tensors(head: WordsHead, half: bool = True) -> dict[str, Tensor]:
    """Return the tensors that a file of a head holds.

    Args:
        head: trained.
        half: whether as float16.
    """
    state: dict[str, Tensor] = head.state_dict()
    return {
        HEAD + name: value.half() if half and value.is_floating_point() else value
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
