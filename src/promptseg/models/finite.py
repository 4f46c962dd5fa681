"""Check that numbers are finite: one pass over them, no copy."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_finite"]

_SMALL = 2  # bytes: types below have no minimum and maximum in torch


def is_finite(values: Tensor) -> bool:
    """Tell whether all values are finite, neither NaN nor infinite; whole numbers always are.

    The minimum and the maximum tell: a NaN anywhere makes both NaN.
    """
    if values.numel() == 0 or not values.is_floating_point():
        return True
    if values.element_size() < _SMALL:
        values = values.float()
    low, high = torch.aminmax(values)
    return bool(torch.isfinite(low) & torch.isfinite(high))
