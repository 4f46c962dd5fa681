"""A synthetic phantom: what engines are checked on, and what weights are rounded for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["phantom_input", "synthetic_phantom"]


def synthetic_phantom(size: int) -> NDArray[np.float32]:
    """Return a phantom slice that looks like a scan: ellipses in each other, shading, texture.

    Args:
        size: side length.

    Returns:
        (3, size, size) float32 from 0 to 1, the same at every call; 256 grey values.
    """
    rng = np.random.default_rng(20240122)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    values = np.zeros((size, size))
    for value, cx, cy, rx, ry in (
        (0.35, 0.0, 0.0, 0.85, 0.65),
        (0.25, -0.3, -0.1, 0.4, 0.35),
        (-0.2, 0.35, 0.1, 0.25, 0.3),
        (0.3, 0.4, -0.25, 0.08, 0.12),
        (0.4, 0.0, 0.5, 0.1, 0.08),
    ):
        values[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] += value
    values += 0.08 * x + 0.05 * np.sin(9 * y) + rng.normal(0, 0.02, values.shape)
    grey = np.round(255 * np.clip(values, 0, 1)) / 255
    grey[:, int(0.9 * size) :] = 0  # as a padded slice
    return np.repeat(grey[None], 3, axis=0).astype(np.float32)


def phantom_input(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the synthetic phantom as a network's input, (1, 3, size, size), and a box on it, (1,
    4).
    """
    picture = torch.from_numpy(synthetic_phantom(size))[None].to(device)
    if size > 256:  # the SAMs of 1024 pixels see standardised values
        picture = (picture - 0.45) / 0.225
    return picture, torch.tensor([[0.15, 0.27, 0.55, 0.63]], device=device) * size
