"""The convolutional decoder of the image embedding (MedicoSAM, II-D, after UNETR).

SAM's encoder is a plain transformer, or one whose early stages no checkpoint user can reach, so the
decoder takes the embedding alone: it doubles the resolution with a transposed convolution and refines
with two convolutions, until it stands on the grid of SAM's own masks.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["UnetrDecoder"]


class _Refine(nn.Sequential):
    """Two 3x3 convolutions with instance normalisation."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(dim, out, 3, padding=1),
            nn.InstanceNorm2d(out, affine=True),
            nn.LeakyReLU(0.01),
            nn.Conv2d(out, out, 3, padding=1),
            nn.InstanceNorm2d(out, affine=True),
            nn.LeakyReLU(0.01),
        )


class UnetrDecoder(nn.Module):
    """Embedding to logits of classes.

    Args:
        channels: of the embedding.
        classes: channels of the output; 1 for the union of all targets.
        doublings: how often the resolution doubles; 2 leads to the grid of SAM's masks.
    """

    def __init__(self, channels: int = 256, classes: int = 1, doublings: int = 2) -> None:
        super().__init__()
        widths = [channels, *(max(channels >> (k + 1), 16) for k in range(doublings))]
        layers: list[nn.Module] = [_Refine(channels, channels)]
        for width, narrower in pairwise(widths):
            layers += [nn.ConvTranspose2d(width, narrower, 2, 2), _Refine(narrower, narrower)]
        self.decoder = nn.Sequential(*layers)
        self.out = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, classes, 2^doublings h, 2^doublings w) logits."""
        out: Tensor = self.out(self.decoder(embedding))
        return out
