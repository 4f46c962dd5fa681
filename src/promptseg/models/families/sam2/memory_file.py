"""Files of a memory alone, a megabyte: the SAM that it is put on comes from where it is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from promptseg.errors import ModelError
from promptseg.models.base_weights import base_tensors, encoder_sha256
from promptseg.models.families.sam2.memory_begin import under_sam2_names

__all__ = ["BASE", "memory_alone", "on_base"]

BASE = "promptseg-lite"
"""The model that memories without one are put on: it comes with the package."""

_PARTS = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.")
_ENCODER = "base_encoder_sha256"  # 32 bytes


def memory_alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a network with memory has beyond `BASE`, as float16, and a hash of `BASE`.

    Args:
        tensors: of `MemorySam`, under its names.

    Raises:
        ModelError: its image encoder, prompt encoder or mask decoder are not those of `BASE`.
    """
    base = base_tensors(BASE)
    under = under_sam2_names(base)
    if changed := [
        n for n, value in under.items() if not torch.equal(tensors[n].half(), value.half())
    ]:
        raise ModelError(f"a memory on {BASE}", f"one on other weights (first: {changed[0]})")
    alone = {n: v.detach().half() for n, v in tensors.items() if not n.startswith(_PARTS)}
    return {
        **alone,
        _ENCODER: torch.frombuffer(bytearray.fromhex(encoder_sha256(base)), dtype=torch.uint8),
    }


def on_base(memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Complete a memory with the weights of the SAM it was made on; any other tensors are as they were.

    Raises:
        ModelError: made on another image encoder than that of this version's `BASE`.
    """
    if _ENCODER not in memory:
        return dict(memory)
    base = base_tensors(BASE)
    if memory[_ENCODER].numpy().tobytes().hex() != encoder_sha256(base):
        raise ModelError(
            f"a memory on the embeddings of this version's {BASE}",
            "one on those of another image encoder",
            "get it again, or train it anew (recipes/memory)",
        )
    own = {name: value.float() for name, value in memory.items() if name != _ENCODER}
    return {**under_sam2_names(base), **own}
