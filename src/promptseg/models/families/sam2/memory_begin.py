"""The start of a memory on a SAM: prompts as the SAM answers them, masks carried to what looks alike.

All of it is written into weights, which can learn otherwise. Of the channels that frames are compared
by, the first four stay free. A memory map keeps in them the mask in the four quarters of a cell;
attention brings them to what looks alike on the next frame, and the guess reads them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from promptseg.models.families.sam2.memory_sam import MemorySam

__all__ = ["QUARTERS", "begin_with", "under_sam2_names"]

QUARTERS = 4
"""Channels that hold a mask: the quarters of a cell, row by row."""

_SHARP = 1.5  # of what attention compares
_LOUD = 2.0  # what a mask counts for beside features, whose variance is 1
_QUIET = 0.1  # of layers with nothing to say yet

_NAMES = {
    "image_encoder.": "image_encoder.trunk.",
    "prompt_encoder.": "sam_prompt_encoder.",
    "mask_decoder.": "sam_mask_decoder.",
}


@torch.no_grad()
def begin_with(
    network: MemorySam, sam: dict[str, Tensor], directions: Tensor, mean: Tensor
) -> MemorySam:
    """Make a network answer prompts as a SAM does, with a memory that has learnt nothing.

    Args:
        network: of the SAM's size, as it was made; it is changed, and given back.
        sam: tensors under SAM's names.
        directions: (n, C) of the features that are compared; n at most `narrow` less `QUARTERS`.
        mean: (C,) of features.
    """
    state = network.state_dict()
    for name, tensor in under_sam2_names(sam).items():
        state[name].copy_(tensor)
    compared = slice(QUARTERS, QUARTERS + len(directions))
    state["narrow.0.weight"].zero_()[compared] = directions[..., None, None]
    state["narrow.0.bias"].zero_()[compared] = -directions @ mean
    _compare(state, len(network.memory_attention.layers))
    _keep_masks(state)
    _read_masks(state)
    for name in ("maskmem_tpos_enc", "no_obj_ptr", "no_obj_embed_spatial"):
        nn.init.trunc_normal_(state[name], std=0.02)
    state["presence.weight"].fill_(1.0)
    state["presence.bias"].zero_()
    return network.eval()


def under_sam2_names(sam: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a SAM under the names that SAM 2 gives to the same parts."""
    parts = {name: next(part for part in _NAMES if name.startswith(part)) for name in sam}
    return {_NAMES[parts[n]] + n.removeprefix(parts[n]): value for n, value in sam.items()}


def _compare(state: dict[str, Tensor], layers: int) -> None:
    """Attention looks for features like those of its own place, and takes what is kept of masks."""
    for number in range(layers):
        layer = f"memory_attention.layers.{number}."
        cross = f"{layer}cross_attn_image."
        same = torch.eye(len(state[f"{cross}q_proj.weight"]))
        loud = same.clone()
        loud[:QUARTERS] *= _LOUD
        nothing = torch.zeros_like(same)
        for name, weight in {
            "q_proj": _SHARP * same,
            "k_proj": torch.cat([_SHARP * same, nothing], dim=1),
            "v_proj": torch.cat([nothing, loud], dim=1),
            "out_proj": same,
        }.items():
            state[f"{cross}{name}.weight"].copy_(weight)
            state[f"{cross}{name}.bias"].zero_()
        state[f"{layer}self_attn.out_proj.weight"].mul_(_QUIET)
        state[f"{layer}linear2.weight"].mul_(_QUIET)


def _keep_masks(state: dict[str, Tensor]) -> None:
    """Quarters of cells go through the encoder of masks, each as x and -x: GELU(x) - GELU(-x) = x.

    What stands beside them, constants of both signs, keeps layer norms from making all of them alike.
    """
    part = "memory_encoder.mask_downsampler."
    mean = torch.zeros(3, 3)
    mean[1:, 1:] = 0.25  # of the quarter's four pixels
    first = state[f"{part}0.weight"].zero_()
    first[0, 0], first[1, 0] = mean, -mean
    state[f"{part}0.bias"].copy_(torch.tensor([0.0, 0.0, 1.0, -1.0]))
    second, bias = state[f"{part}3.weight"].mul_(_QUIET), state[f"{part}3.bias"].mul_(_QUIET)
    last = state[f"{part}6.weight"]
    second[: 2 * QUARTERS] = 0
    bias[: 2 * QUARTERS] = 0
    last[:QUARTERS] = 0
    for quarter in range(QUARTERS):
        row, column = divmod(quarter, 2)
        for sign, channel in ((1.0, 2 * quarter), (-1.0, 2 * quarter + 1)):
            second[channel, 0, 1 + row, 1 + column] = sign
            second[channel, 1, 1 + row, 1 + column] = -sign
            last[quarter, channel] = 0.4 * sign
    bias[2 * QUARTERS], bias[2 * QUARTERS + 1] = 1.0, -1.0
    state[f"{part}6.bias"][:QUARTERS] = 0
    for name in ("pix_feat_proj", "out_proj"):
        state[f"memory_encoder.{name}.weight"][:QUARTERS] = 0
        state[f"memory_encoder.{name}.bias"][:QUARTERS] = 0
    for quarter in range(QUARTERS):
        state["memory_encoder.out_proj.weight"][quarter, quarter] = 1
    for name in state:
        if name.startswith("memory_encoder.fuser.") and name.endswith(".gamma"):
            state[name].fill_(_QUIET)


def _read_masks(state: dict[str, Tensor]) -> None:
    """The guess is what attention brought of the quarters, as logits."""
    pairs = slice(0, 2 * QUARTERS)
    for name in ("seen", "own", "around"):
        state[f"guess_head.{name}.weight"][pairs] = 0
        state[f"guess_head.{name}.bias"][pairs] = 0
    out = state["guess_head.out.weight"].mul_(_QUIET)
    out[pairs] = 0
    state["guess_head.out.bias"].zero_()
    for quarter in range(QUARTERS):
        row, column = divmod(quarter, 2)
        for sign, channel in ((1.0, 2 * quarter), (-1.0, 2 * quarter + 1)):
            state["guess_head.seen.weight"][channel, quarter] = sign
            out[channel, 0, row, column] = sign
