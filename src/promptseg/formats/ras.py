"""Parts that NIfTI, FreeSurfer and AFNI share: voxels as nibabel holds them, world axes in RAS."""

from __future__ import annotations

import contextlib
import gzip
import logging
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.memory import require_memory, require_stored
from promptseg.formats.options import ReadOptions
from promptseg.notes import Note

__all__ = ["every_frame", "lps_from_ras", "magnitude", "opened", "spatial_shape", "voxels_of"]

# nibabel's log of what is odd in a header is for those who ask for it, not for stderr
logging.getLogger("nibabel.global").handlers[:] = [logging.NullHandler()]

_TAIL = 1 << 20  # bytes: what FreeSurfer writes after the voxels, but not a bomb


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for nibabel to read from; gzip is unpacked on the way, whatever the file's name."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        yield nib.FileHolder(filename=str(path), fileobj=stream)


def lps_from_ras(
    matrix: NDArray[np.float64], origin: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn a RAS matrix and origin into LPS, or back."""
    flip = np.array([-1.0, -1.0, 1.0])
    return matrix * flip[:, None], origin * flip


def spatial_shape(image: Any, path: Path) -> tuple[int, int, int]:
    """Return the size (x, y, z) of an image that nibabel has opened.

    Raises:
        InputError: a dimension without voxels.
    """
    shape = tuple(int(n) for n in image.shape)
    if not shape or min(shape) < 1:
        raise InputError("voxels", f"{path} of shape {shape}", "check the header")
    x, y, z = (*shape, 1, 1)[:3]
    return x, y, z


def every_frame(image: Any, path: Path) -> NDArray[Any]:
    """Read all voxels of an image that nibabel has opened, (x, y, z, ...); see `voxels_of`.

    Raises:
        InputError: a truncated or damaged file, or more than fits into memory.
    """
    spatial_shape(image, path)
    shape, dtype = tuple(int(n) for n in image.shape), np.dtype(image.get_data_dtype())
    file, proxy = image.file_map["image"], image.dataobj
    require_memory(shape, dtype.itemsize, path)
    require_stored(prod(shape) * dtype.itemsize, Path(file.filename))
    voxels = np.asarray(proxy, dtype=np.float32 if _is_scaled(proxy) else None)
    _require_intact(file.fileobj, proxy.offset + prod(shape) * dtype.itemsize)
    return voxels


def voxels_of(image: Any, path: Path, options: ReadOptions, notes: list[str]) -> NDArray[Any]:
    """Read one frame of an image that nibabel has opened, after a check that it fits into memory.

    Args:
        image: with the proxy of its voxels, (x, y, z, ...), in a file that `opened` holds open; frames
            count along the fourth axis first.
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
    frame, size = options.frame_of(prod(beyond), path), prod(shape + beyond) * dtype.itemsize
    file, proxy = image.file_map["image"], image.dataobj
    require_memory(shape, dtype.itemsize, path)
    require_stored(size, Path(file.filename))
    part = proxy
    if prod(beyond) > 1:
        part = proxy[(slice(None),) * 3 + np.unravel_index(frame, beyond, order="F")]
        notes.append(Note.frame(frame, prod(beyond)))
    scaled = _is_scaled(proxy) and dtype.kind != "c"
    stored = np.asarray(part, dtype=np.float32 if scaled else None).reshape(shape).T
    _require_intact(file.fileobj, proxy.offset + size)
    return np.ascontiguousarray(_plain(stored, notes))


def _require_intact(stream: Any, end: int) -> None:
    """Read to the end of a file, where gzip compares its checksum; not far beyond the voxels."""
    stream.seek(end)
    stream.read(_TAIL)


def _plain(stored: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Voxels of a type that everything here can use: RGB channels, real, native, 8 bytes at most."""
    if stored.dtype.fields:  # RGB24 and RGBA32: a structured type, one byte per channel
        if "A" in stored.dtype.fields:
            notes.append("transparency ignored")
        return np.stack([stored[channel] for channel in ("R", "G", "B")], axis=-1)
    if stored.dtype.kind == "c":
        stored = magnitude(stored, notes)
    if stored.dtype.itemsize > 8:
        stored = stored.astype(np.float64)
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def magnitude(voxels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """Return the absolute values of complex voxels, and add a note."""
    notes.append("complex values: read as their magnitude")
    return np.asarray(np.abs(voxels))


def _is_scaled(proxy: Any) -> bool:
    if hasattr(proxy, "scaling"):  # AFNI: one factor per frame
        return proxy.scaling is not None
    return (float(proxy.slope), float(proxy.inter)) != (1.0, 0.0)
