"""The neck of SAM 2: features of all stages at one width, coarse ones enriched from above."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from promptseg.models.families.sam2.trunk import Hiera, TrunkSize

__all__ = ["FpnNeck", "ImageEncoder"]


class FpnNeck(nn.Module):
    """A feature pyramid (Lin et al., 2017) without its last convolutions.

    Only the third stage takes up what the fourth has seen, and the fourth goes no further; the two
    finest ones help the mask decoder with edges alone.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(  # from the coarsest stage to the finest
            nn.Sequential(OrderedDict(conv=nn.Conv2d(width, channels, 1)))
            for width in reversed(widths)
        )

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map four stages, the finest first, to (B, C, h, w) at strides of 4, 8 and 16 pixels."""
        coarsest, coarse, middle, fine = (
            conv(stage) for conv, stage in zip(self.convs, reversed(stages), strict=True)
        )
        return fine, middle, coarse + F.interpolate(coarsest, scale_factor=2.0, mode="nearest")


class ImageEncoder(nn.Module):
    """Trunk and neck."""

    def __init__(self, size: TrunkSize, channels: int) -> None:
        super().__init__()
        self.trunk = Hiera(size)
        self.neck = FpnNeck(size.widths, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, S, S) to (B, C, S / 4, S / 4), (B, C, S / 8, S / 8), (B, C, S / 16, S / 16)."""
        levels: tuple[Tensor, Tensor, Tensor] = self.neck(self.trunk(x))
        return levels
