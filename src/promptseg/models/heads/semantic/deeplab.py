"""DeepLabV3+ with ResNet-50 (Chen et al., ECCV 2018; He et al., CVPR 2016), with random weights.

Features at a sixteenth of the resolution, looked at through convolutions of several reaches, joined to
those at a quarter. The parameters of the ResNet have torchvision's names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DeepLab"]

_REACHES = (12, 24, 36)
_WIDTH, _FINE = 256, 48


class _Bottleneck(nn.Module):
    """Narrow, 3x3, wide, added."""

    def __init__(self, dim: int, inner: int, stride: int = 1, reach: int = 1) -> None:
        super().__init__()
        out = 4 * inner
        self.conv1 = nn.Conv2d(dim, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, reach, reach, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = (
            None
            if stride == 1 and dim == out
            else nn.Sequential(nn.Conv2d(dim, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class _ResNet50(nn.Module):
    """Features at a quarter and at a sixteenth of the resolution; the last stage is dilated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, stride=2)
        self.layer4 = _stage(1024, 512, 3, reach=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        fine = self.layer1(x)
        return fine, self.layer4(self.layer3(self.layer2(fine)))


def _stage(dim: int, inner: int, depth: int, stride: int = 1, reach: int = 1) -> nn.Sequential:
    first = _Bottleneck(dim, inner, stride, reach)
    return nn.Sequential(
        first, *(_Bottleneck(4 * inner, inner, 1, reach) for _ in range(depth - 1))
    )


def _pointwise(dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _separable(dim: int, out: int, reach: int = 1) -> nn.Sequential:
    """Each channel by itself, then all together."""
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, padding=reach, dilation=reach, groups=dim, bias=False),
        *_pointwise(dim, out),
    )


class _Pooled(nn.Module):
    """The mean over the image, everywhere. It has no batch normalisation, which one image forbids."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.relu(self.conv(x.mean((2, 3), keepdim=True)))
        return mean.expand(-1, -1, *x.shape[2:])


class DeepLab(nn.Module):
    """The network.

    Args:
        classes: channels of the logits, background included.
        channels: of the input.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.backbone = _ResNet50(channels)
        self.branches = nn.ModuleList(
            [
                _pointwise(2048, _WIDTH),
                *(_separable(2048, _WIDTH, reach) for reach in _REACHES),
                _Pooled(2048, _WIDTH),
            ]
        )
        self.project = nn.Sequential(
            _pointwise((len(_REACHES) + 2) * _WIDTH, _WIDTH),
            nn.Dropout(0.5),
            _separable(_WIDTH, _WIDTH),
        )
        self.fine = _pointwise(256, _FINE)
        self.join = _separable(_WIDTH + _FINE, _WIDTH)
        self.out = nn.Conv2d(_WIDTH, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, classes, H, W) logits."""
        fine, coarse = self.backbone(x)
        seen = self.project(torch.cat([branch(coarse) for branch in self.branches], dim=1))
        seen = F.interpolate(seen, fine.shape[2:], mode="bilinear")
        logits = self.out(self.join(torch.cat([seen, self.fine(fine)], dim=1)))
        return F.interpolate(logits, x.shape[2:], mode="bilinear")
