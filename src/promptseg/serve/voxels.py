"""Voxels on their way: slices out as raw bytes, arrays in as .npy, never a pickle."""

from __future__ import annotations

import io
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.archive import array_header
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.image import Image
from promptseg.serve.describe import sent_as
from promptseg.serve.web.bodies import Upload

__all__ = ["axis_named", "image_of", "read_npy", "slices_of", "window_of"]

_MOST_SLICES = 512


def axis_named(text: str | None, default: Axis) -> Axis:
    """Return the axis that a query parameter names, or the default where it is absent.

    Args:
        text: "z", "y" or "x"; None where the parameter is absent.
        default: the axis to take then.

    Raises:
        InputError: none of z, y, x.
    """
    for axis in AXES:
        if text == axis:
            return axis
    if text is None:
        return default
    raise InputError("axis to be z, y or x", repr(text[:40]))


def slices_of(
    image: Image,
    axis: Axis,
    first: int,
    count: int,
    window: tuple[float, float] | None,
) -> NDArray[Any]:
    """Return slices (count, rows, columns[, 3]): little-endian integers of at most 16 bits, or float32.

    Args:
        image: 2D image or volume.
        axis: the axis slices are taken along.
        first: index of the first slice.
        count: how many.
        window: values that become 0 and 255 of uint8; None leaves values as they are.

    Raises:
        InputError: slices outside the image.
    """
    there = image.geometry.slice_count(axis)
    if not (0 <= first < there and 1 <= count <= min(there - first, _MOST_SLICES)):
        raise InputError(
            f"slices within 0..{there - 1}, at most {_MOST_SLICES} at a time",
            f"{count} from {first}",
        )
    found = np.stack([image.slice(k, axis) for k in range(first, first + count)])
    if window is not None and not image.is_colour:
        low, high = window
        scaled = (found.astype(np.float32) - low) * (255 / max(high - low, 1e-9))
        return np.asarray(np.clip(scaled, 0, 255).astype(np.uint8))
    return np.ascontiguousarray(found.astype(sent_as(found.dtype), copy=False))


def window_of(lower: str | None, upper: str | None) -> tuple[float, float] | None:
    """Parse the window of a query; None without any.

    Raises:
        InputError: no numbers, or not in order.
    """
    if lower is None and upper is None:
        return None
    try:
        low, high = float(lower or ""), float(upper or "")
    except ValueError:
        low = high = float("nan")
    if not np.isfinite([low, high]).all() or high <= low:
        raise InputError("numbers lower < upper", f"{lower!r:.40} and {upper!r:.40}")
    return low, high


def read_npy(content: bytes, limit: int) -> NDArray[Any]:
    """Read the array of a .npy file: numbers alone, of the size its header says.

    Raises:
        InputError: something else.
    """
    do = "send a .npy file of numbers"
    stream = io.BytesIO(content)
    try:
        shape, fortran, dtype = array_header(stream)
    except Exception as error:  # numpy evaluates the header: there is nothing it does not raise
        raise InputError("a .npy file", str(error)[:100] or "something else", do) from None
    if dtype.hasobject or dtype.kind not in "biuf":
        raise InputError("an array of numbers", f"one of {dtype}"[:60], do)
    size = prod(shape) * dtype.itemsize
    rest = len(content) - stream.tell()
    if any(n < 1 for n in shape) or size > limit or size != rest:
        raise InputError(
            f"an array of as many bytes as its header says, {size:,}"[:120], f"{rest:,} bytes", do
        )
    array = np.frombuffer(content, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def image_of(array: NDArray[Any], facts: Upload) -> Image:
    """Return an uploaded array as an image.

    Raises:
        InputError, GeometryError: values that are not finite, or facts that fit no image.
    """
    if array.dtype == bool:
        array = array.view(np.uint8)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    colour = array.ndim == 4 or (array.ndim == 3 and array.shape[-1] == 3)
    shape = array.shape[:-1] if colour else array.shape
    if len(shape) not in (2, 3) or (colour and array.shape[-1] != 3):
        raise InputError("an array (z, y, x) or (y, x), or either with 3 colours", str(array.shape))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("finite voxel values", "NaN or infinity", "replace them first")
    if facts.spacing is None:
        if facts.origin or facts.direction:
            raise InputError("spacing beside origin and direction", "none")
        geometry = Geometry.pixels(shape)
    else:
        sizes = {"spacing": 3, "origin": 3, "direction": 9}
        for name, size in sizes.items():
            value = getattr(facts, name)
            if value is not None and len(value) != size:
                raise InputError(f"{size} numbers for {name}", str(len(value)))
        geometry = Geometry.from_spacing(
            shape, facts.spacing, facts.origin or (0.0, 0.0, 0.0), facts.direction
        )
    return Image(array, geometry, facts.modality or "unknown")
