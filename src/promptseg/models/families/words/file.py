"""Files of heads for words: the head alone, a few megabytes; its base comes from where it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.base_weights import base_tensors, encoder_sha256
from promptseg.models.families.words.network import HEAD, STATE, About, WordsHead

__all__ = ["head_tensors", "on_base"]


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
