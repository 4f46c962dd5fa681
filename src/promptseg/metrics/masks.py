"""Checks of a pair of masks that is to be scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.errors import InputError
from promptseg.geometry import Geometry

__all__ = ["array_spacing", "as_mask", "as_spacing", "require_same_shape"]


def as_mask(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    """Check that a mask is (y, x) or (z, y, x), and bool or all 0 and 1; return it as bool.

    Args:
        name: what to call it in a message.
        values: the mask.

    Raises:
        InputError: another shape, NaN, or a number that is neither 0 nor 1.
    """
    mask = np.asarray(values)
    if mask.ndim not in (2, 3):
        raise InputError(
            f"a {name} mask of shape (y, x) or (z, y, x)",
            f"shape {mask.shape}",
            "score one object at a time",
        )
    if mask.dtype == bool:
        return mask
    if mask.dtype.kind not in "uif":
        raise InputError(f"a boolean {name} mask", f"values of type {mask.dtype}")
    odd = mask[(mask != 0) & (mask != 1)]
    if odd.size:
        raise InputError(
            f"a {name} mask of 0 and 1",
            f"the value {odd[0]:g}",
            "pick one label with `labels == k`, or cut probabilities at a threshold",
        )
    return mask.astype(bool)


def require_same_shape(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> None:
    """Refuse two masks that are not on one grid.

    Raises:
        InputError: their shapes differ.
    """
    if truth.shape != found.shape:
        raise InputError(
            f"a found mask of the truth's shape {truth.shape}",
            f"shape {found.shape}",
            "bring both to the grid of the image",
        )


def as_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Check the side lengths of a pixel or voxel along the array axes; 1 each where None.

    Raises:
        InputError: another number of them, or one that is not a positive finite number.
    """
    if spacing is None:
        return (1.0,) * ndim
    lengths = tuple(float(length) for length in spacing)
    if len(lengths) != ndim or not all(0 < length < np.inf for length in lengths):
        raise InputError(
            f"a spacing of {ndim} lengths above 0, one per array axis",
            repr(lengths),
            "give it in mm in the order (z, y, x), or None for pixels",
        )
    return lengths


def array_spacing(geometry: Geometry) -> tuple[float, ...] | None:
    """Return the spacing of a grid in the order of its array axes, in mm; None if it is in pixels.

    Examples:
        >>> from promptseg import Geometry
        >>> from promptseg.metrics import array_spacing
        >>> array_spacing(Geometry.from_spacing((20, 64, 48), spacing=(0.7, 0.8, 5.0)))
        (5.0, 0.8, 0.7)
    """
    if geometry.unit == "pixel":
        return None
    return tuple(float(length) for length in geometry.spacing[: geometry.ndim][::-1])
