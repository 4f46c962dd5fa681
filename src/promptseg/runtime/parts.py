"""The parts of rewritten networks that engines run."""

from __future__ import annotations

import torch

from promptseg.models.families.sam2.network import MemoryTokens
from promptseg.runtime.engine import Part
from promptseg.runtime.phantom import phantom_input
from promptseg.runtime.rewrite import FusedMemorySam, FusedNetwork, FusedSam, FusedSam2

__all__ = ["parts_of"]

_TOKENS = 2  # of one box, or one click and its padding


def parts_of(network: FusedNetwork, identity: str = "") -> dict[str, Part]:
    """Return the parts of a network, by name.

    Args:
        network: on its device.
        identity: hash of its weights; "" if they have none.
    """
    if isinstance(network, FusedSam2):
        return _of_sam2(network, identity)
    return _of_sam(network, identity)


def _of_sam(network: FusedSam | FusedMemorySam, identity: str) -> dict[str, Part]:
    device = next(network.parameters()).device
    size = network.image_encoder.img_size
    slices, _ = phantom_input(size, device)
    prompts = network.prompt_encoder
    channels, grid = prompts.channels, prompts.grid
    image = torch.zeros(1, channels, grid, grid, device=device)
    tokens = torch.zeros(1, _TOKENS, channels, device=device)
    return {
        "encoder": _encoder(network, slices, ("embedding",), identity),
        "decoder": Part(
            "decoder",
            network.mask_decoder,
            example=(image, tokens, image.clone()),
            free=((), (0, 1), (0, 2, 3)),
            identity=identity,
            inputs=("embedding", "sparse", "dense"),
            outputs=("logits", "quality"),
            channels_last=("embedding",),
        ),
    }


@torch.inference_mode()
def _of_sam2(network: FusedSam2, identity: str) -> dict[str, Part]:
    slices, _ = phantom_input(network.image_size, network.no_mem_embed.device)
    dim, grid = network.shape.dim, network.grid  # see `Features`
    fine, middle, coarse = (
        slices.new_zeros(1, dim // by, finer * grid, finer * grid)
        for by, finer in ((8, 4), (4, 2), (1, 1))
    )
    tokens = coarse.new_zeros(1, _TOKENS + 1, coarse.shape[1])
    levels, memory = ("fine", "middle", "coarse"), network.full_memory()
    return {
        "encoder": _encoder(network, slices, levels, identity),
        "attention": Part(
            "attention",
            network.memory_attention,
            example=(coarse, *memory),
            free=((), *([(1,)] * len(memory))),
            identity=identity,
            inputs=("coarse", *MemoryTokens._fields),
            outputs=("conditioned",),
            channels_last=("coarse", "conditioned"),
        ),
        "decoder": Part(
            "decoder",
            network.sam_mask_decoder,
            example=(coarse, fine, middle, tokens, torch.zeros_like(coarse)),
            free=((0,), (), (), (0, 1), (0, 2, 3)),
            identity=identity,
            inputs=("coarse", "fine", "middle", "sparse", "dense"),
            outputs=("logits", "iou", "tokens", "presence"),
            channels_last=levels,
        ),
    }


def _encoder(
    network: FusedNetwork, slices: torch.Tensor, outputs: tuple[str, ...], identity: str
) -> Part:
    return Part(
        "encoder",
        network.image_encoder,
        (slices,),
        identity=identity,
        inputs=("slices",),
        outputs=outputs,
        channels_last=("slices", *outputs),
    )
