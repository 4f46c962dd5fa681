"""The neck of SAM's image encoders for inference: normalised as tokens, channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam.layers import LayerNorm2d
from promptseg.runtime.rewrite.ops import Linear

__all__ = ["FusedNeck"]


class FusedNeck(nn.Module):
    """A pointwise and a 3 x 3 convolution without biases, each normalised.

    Args:
        neck: the layers it takes its weights from.
        side: tokens along each side of the grid.
    """

    def __init__(self, neck: nn.Sequential, side: int) -> None:
        super().__init__()
        narrow, first, conv, second = neck
        assert isinstance(narrow, nn.Conv2d)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(first, LayerNorm2d)
        assert isinstance(second, LayerNorm2d)
        self.side, self.conv, self.first, self.second = side, conv, first, second
        weight = narrow.weight.detach().flatten(1)
        self.narrow = Linear(weight, torch.zeros(len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B * side * side, dim) to (B, out, side, side)."""
        x = _normalised(self.first, self.narrow(x))
        x = self.conv(x.view(-1, self.side, self.side, x.shape[-1]).permute(0, 3, 1, 2))
        x = _normalised(self.second, x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))
        return x.view(-1, self.side, self.side, x.shape[-1]).permute(0, 3, 1, 2)


def _normalised(norm: LayerNorm2d, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
