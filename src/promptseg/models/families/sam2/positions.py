"""Positions as sines: on the grid, in time, and as rotations of keys and queries."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

__all__ = ["grid_sines", "rotated", "rotations", "time_sines"]

_SLOWEST = 10_000.0
_HERE = "cpu"  # also where a network is built without memory, to learn the shapes of its tensors


@cache
@torch.inference_mode(False)
def grid_sines(channels: int, side: int) -> Tensor:
    """Return sines and cosines of rows, then columns, (1, channels, side, side) (Carion et al., 2020).

    Positions 1..side are brought to 0..2 pi; even channels are sines, odd ones cosines.
    """
    half = channels // 2
    at = torch.arange(1, side + 1, dtype=torch.float32, device=_HERE)
    at = at / (side + 1e-6) * (2 * math.pi)
    phase = at[:, None] / _SLOWEST ** (2 * (torch.arange(half, device=_HERE) // 2) / half)
    waves = torch.stack([phase[:, 0::2].sin(), phase[:, 1::2].cos()], dim=-1).flatten(1)
    rows = waves[:, None].expand(side, side, half)
    columns = waves[None].expand(side, side, half)
    return torch.cat([rows, columns], dim=-1).permute(2, 0, 1)[None]


def time_sines(at: Tensor, channels: int) -> Tensor:
    """Map times (N,) to (N, channels): all sines, then all cosines."""
    half = channels // 2
    slowness = _SLOWEST ** (2 * (torch.arange(half, device=at.device) // 2) / half)
    phase = at[:, None] / slowness
    return torch.cat([phase.sin(), phase.cos()], dim=-1)


@cache
@torch.inference_mode(False)
def rotations(channels: int, side: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, (side * side, channels / 2), that turn pairs of channels by their
    place.

    Half of the pairs turn with the column, half with the row (Heo et al., RoPE for ViT, 2024).
    """
    speed = 1.0 / _SLOWEST ** (torch.arange(0, channels, 4, device=_HERE).float() / channels)
    at = torch.arange(side * side, device=_HERE)
    angles = torch.cat(
        [torch.outer(along.float(), speed) for along in (at % side, at // side)], dim=-1
    )
    return angles.cos(), angles.sin()


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn every pair of channels of (..., n, channels) by its position; n is one grid, or several of
    them.
    """
    times = x.shape[-2] // cosines.shape[0]
    if times > 1:
        cosines, sines = cosines.repeat(times, 1), sines.repeat(times, 1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cosines - b * sines, a * sines + b * cosines], dim=-1).flatten(-2)
