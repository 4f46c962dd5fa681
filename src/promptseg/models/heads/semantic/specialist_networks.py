"""The networks of specialists, with random weights, for any number of channels."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from promptseg.errors import MissingPackageError, ModelError
from promptseg.models.heads.semantic.deeplab import DeepLab

__all__ = ["specialist_network"]

_STEP = 32  # Swin UNETR halves its input five times


def specialist_network(
    name: str, classes: int, channels: int, features: int, side: int, depth: int = 1
) -> nn.Module:
    """Build the network of a specialist, DeepLabV3+ or Swin UNETR, with random weights.

    Args:
        name: of the specialist: deeplabv3plus or swin-unetr.
        classes: channels of the logits.
        channels: of the input.
        features: of Swin UNETR, a multiple of 12.
        side: of the square input.
        depth: slices of a patch; 1 for a network of single images.

    Returns:
        A module that takes (B, channels[, depth], side, side) and gives logits, (B, classes[, depth],
        side, side).

    Raises:
        ModelError: an input that the network has no grid for.
        MissingPackageError: Swin UNETR without MONAI.
    """
    if name == "deeplabv3plus":
        if depth > 1:
            raise ModelError("single images for deeplabv3plus", f"stacks of {depth} slices")
        return DeepLab(classes, channels)
    if side % _STEP or (depth > 1 and depth % _STEP):
        raise ModelError(
            f"multiples of {_STEP} pixels and slices for swin-unetr",
            f"{side} pixels, {depth} slices",
            "change --side or --depth",
        )
    if features % 12 or not features:
        raise ModelError("--features of a multiple of 12 for swin-unetr", str(features))
    for package in ("monai", "einops"):  # the latter its network only asks for when it runs
        if find_spec(package) is None:
            raise MissingPackageError(package, "for swin-unetr", "specialists")
    nets: Any = import_module("monai.networks.nets")
    with torch.device("cpu"):  # it computes while it builds, which no other place lets it do
        network: nn.Module = nets.SwinUNETR(
            in_channels=channels,
            out_channels=classes,
            feature_size=features,
            spatial_dims=2 if depth == 1 else 3,
        )
    return network
