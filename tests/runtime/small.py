"""Small networks with random weights, of both architectures."""

from __future__ import annotations

import torch
from torch import nn

from promptseg.models.families.sam.build import Sam
from promptseg.models.families.sam.prompt_encoder import PromptEncoder
from promptseg.models.families.sam.tiny_vit import TinyViT
from promptseg.models.families.sam.vit import ViT


def tiny(stride: int = 1) -> Sam:
    """A SAM with a TinyViT whose grids are no multiples of its windows."""
    encoder = TinyViT(64 * stride, stride, (16, 32, 32, 64), (2, 1, 1, 1), (1, 2, 2, 2))
    return randomised(Sam(encoder, PromptEncoder(64 * stride, grid=16)))


def plain(size: int = 320) -> Sam:
    """A SAM with a ViT, one of its blocks over the whole grid."""
    encoder = ViT(32, depth=2, heads=2, whole=(1,), image_size=size)
    return randomised(Sam(encoder, PromptEncoder(size, grid=size // 16)))


def randomised(network: Sam) -> Sam:
    """The network in evaluation mode, with weights and statistics from the same seed."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.15)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval().requires_grad_(False)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 distance."""
    return float((found - expected).norm() / expected.norm())
