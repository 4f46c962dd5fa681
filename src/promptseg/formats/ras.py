"""What NIfTI, FreeSurfer and AFNI share: voxels as nibabel holds them, world axes in RAS."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.memory import require_memory, require_stored
from promptseg.formats.options import ReadOptions

__all__ = ["lps_from_ras", "magnitude", "spatial_shape", "voxels_of"]


def lps_from_ras(
    matrix: NDArray[np.float64], origin: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn a RAS matrix and origin into LPS, or back."""
    flip = np.array([-1.0, -1.0, 1.0])
    return matrix * flip[:, None], origin * flip


def spatial_shape(image: Any, path: Path) -> tuple[int, int, int]:
    """(x, y, z) of an image that nibabel has opened.

    Raises:
        InputError: a dimension without voxels.
    """
    shape = tuple(int(n) for n in image.shape)
    if not shape or min(shape) < 1:
        raise InputError("voxels", f"{path} of shape {shape}", "check the header")
    x, y, z = (*shape, 1, 1)[:3]
    return x, y, z


def voxels_of(image: Any, path: Path, options: ReadOptions, notes: list[str]) -> NDArray[Any]:
    """One frame of an image that nibabel has opened; its memory is bounded before it is read.

    Args:
        image: with the proxy of its voxels, (x, y, z, ...); frames count along the fourth axis first.
        path: for messages.
        options: the frame to take.
        notes: what had to be changed is added here.

    Returns:
        (z, y, x) or, for RGB, (z, y, x, 3); scaled values are float32, complex ones magnitudes.

    Raises:
        InputError: several frames and no choice, a truncated file, or more than fits into memory.
    """
    shape, dtype = spatial_shape(image, path), np.dtype(image.get_data_dtype())
    beyond = tuple(int(n) for n in image.shape[3:])
    frame = options.frame_of(prod(beyond), path)
    require_memory(shape, dtype.itemsize, path)
    require_stored(
        prod(image.shape) * dtype.itemsize, Path(image.file_map["image"].filename or path)
    )
    proxy = image.dataobj
    part = proxy
    if prod(beyond) > 1:
        part = proxy[(slice(None),) * 3 + np.unravel_index(frame, beyond, order="F")]
        notes.append(f"frame {frame} of {prod(beyond)}")
    if dtype.fields:  # RGB24 and RGBA32: a structured type, one byte per channel
        raw = np.asarray(part).reshape(shape)
        if "A" in dtype.fields:
            notes.append("transparency ignored")
        stored = np.stack([raw[channel] for channel in ("R", "G", "B")], axis=-1)
        return np.ascontiguousarray(stored.transpose(2, 1, 0, 3))
    scaled = _is_scaled(proxy) and dtype.kind != "c"
    stored = np.asarray(part, dtype=np.float32 if scaled else None).reshape(shape).T
    if stored.dtype.kind == "c":
        stored = magnitude(stored, notes)
    if scaled or stored.dtype.itemsize > 8:  # long doubles too
        stored = stored.astype(np.float32 if scaled else np.float64, copy=False)
    return np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))


def magnitude(voxels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Absolute values of complex voxels, with a note."""
    notes.append("complex values: read as their magnitude")
    return np.asarray(np.abs(voxels))


def _is_scaled(proxy: Any) -> bool:
    if hasattr(proxy, "scaling"):  # AFNI: one factor per frame
        return proxy.scaling is not None
    return (float(proxy.slope), float(proxy.inter)) != (1.0, 0.0)
