"""Pooling of the features within boxes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["roi_align"]


def roi_align(features: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return the mean of features in each cell of a grid over each box (Mask R-CNN, section 3).

    As torchvision's function of that name with its defaults: corners are not shifted by half a pixel,
    boxes are at least one pixel wide and high, a cell has as many sampling points along a side as
    pixels of the box per cell, rounded up, and values beyond the border are those at it, or 0 from
    one pixel on.

    Args:
        features: (channels, rows, columns) floating point.
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the features.
        size: cells along each side.

    Returns:
        (N, channels, size, size).

    Examples:
        >>> ramp = torch.arange(8.0).expand(1, 8, 8)
        >>> roi_align(ramp, torch.tensor([[2.0, 2.0, 6.0, 6.0]]), 2)[0, 0, 0].tolist()
        [3.0, 5.0]
    """
    found = [_pooled(features, box, size) for box in boxes]
    return torch.stack(found) if found else features.new_zeros(0, len(features), size, size)


def _pooled(features: Tensor, box: Tensor, size: int) -> Tensor:
    """(channels, size, size) of one box: a product of matrices, as both axes are apart."""
    rows, columns = features.shape[-2:]
    down = _sampling(box[1], box[3], size, rows)
    across = _sampling(box[0], box[2], size, columns)
    return down @ features @ across.T


def _sampling(low: Tensor, high: Tensor, size: int, length: int) -> Tensor:
    """(size, length): the weight of every pixel along an axis in the mean of every cell."""
    cell = (high - low).clamp(min=1) / size
    count = max(int(cell.ceil()), 1)
    steps = torch.arange(size * count, device=low.device, dtype=low.dtype)
    places = low + (steps + 0.5) * cell / count
    inside = (places >= -1) & (places <= length)
    places = places.clamp(0, length - 1)
    before = places.floor().long()
    share = places - before
    weights = torch.zeros(size * count, length, device=low.device, dtype=low.dtype)
    weights.scatter_add_(1, before[:, None], (1 - share)[:, None])
    weights.scatter_add_(1, (before + 1).clamp(max=length - 1)[:, None], share[:, None])
    return (weights * inside[:, None]).view(size, count, length).mean(dim=1)
