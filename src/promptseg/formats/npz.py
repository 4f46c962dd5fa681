"""The npz files of the "Segment Anything in Medical Images on Laptop" challenge.

Keys: `imgs` (z, y, x), (y, x) or (y, x, 3); `spacing` (x, y, z) in mm; optional `origin` and
`direction` (LPS, row by row); `boxes` (N, 4) x0,y0,x1,y1 in 2D images or (N, 6) x0,y0,z0,x1,y1,z1 in
volumes, used as prompts when the user gives none; `gts`, the expert labels, is never read here.
Masks are written under `segs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, PromptsegError
from promptseg.formats.archive import FEW_BYTES, Archive, open_archive
from promptseg.formats.options import ReadOptions
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source
from promptseg.prompts import Box, Box3D, Prompt

__all__ = ["read", "read_labels", "told_in", "write"]

_MOST_NAMES = 1 << 26  # bytes: numpy pads each name to the longest
_MOST_BOXES = 1 << 23  # bytes: some hundred thousand boxes


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a challenge file; boxes that cannot be read are left out with a note.

    Raises:
        InputError: not an npz, no `imgs`, or a grid of pickled content.
    """
    notes: list[str] = []
    with open_archive(path) as archive:
        voxels = archive.take("imgs")
        header = _place_in(archive)
        colour = voxels.ndim >= 3 and voxels.shape[-1] == 3
        shape = voxels.shape[:-1] if colour else voxels.shape
        if len(shape) not in (2, 3) or voxels.dtype.kind not in "iuf":
            raise InputError(
                "imgs of shape (z, y, x), (y, x) or (y, x, 3)",
                f"{path}: {voxels.dtype} {voxels.shape}",
            )
        prompts = _boxes_in(archive, len(shape), notes)
    geometry = _geometry(shape, header)
    return Image(voxels, geometry, source=Source(path, "npz", header, prompts=prompts, notes=notes))


def _boxes_in(archive: Archive, dimensions: int, notes: list[str]) -> tuple[Prompt, ...]:
    """The boxes as prompts; none, and a note, where they cannot be read: the image needs none."""
    if "boxes" not in archive:
        return ()
    try:
        return _prompts(archive.take("boxes", _MOST_BOXES), dimensions)
    except PromptsegError as error:
        reason = error.got.removeprefix(f"{archive.path}: ")
        notes.append(
            f"its boxes are no prompts: {reason}; read are arrays (N, 4) of x0,y0,x1,y1 in 2D images "
            "or (N, 6) of x0,y0,z0,x1,y1,z1 in volumes"
        )
        return ()


def read_labels(path: Path, options: ReadOptions | None = None) -> Image:
    """Read `segs` (a result) or `gts` (a challenge file) on their grid.

    Raises:
        InputError: neither is there, or it holds one layer per object.
    """
    with open_archive(path) as archive:
        key = next((k for k in ("segs", "gts") if k in archive), None)
        if key is None:
            raise InputError("an npz file with the key segs or gts", f"{path} without")
        labels = archive.take(key)
        extra = _place_in(archive)
    if labels.ndim not in (2, 3) or labels.dtype.kind not in "iuf":
        raise InputError(f"{key} of shape (z, y, x) or (y, x)", f"{labels.dtype} {labels.shape}")
    return Image(labels, _geometry(labels.shape, extra), source=Source(path, "npz"))


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write `segs`, labels on the grid or (object, *grid) of 0/1, as `layers` says; names, labels."""
    header = segmentation.header_of("npz")
    if header is None:
        geometry = segmentation.geometry
        header = {
            "spacing": geometry.spacing,
            "origin": geometry.origin,
            "direction": geometry.direction.ravel(),
        }
    segs = segmentation.layers() if layers else segmentation.labels(later_wins=True)
    names = np.array([s.name for s in segmentation.segments])
    numbers = np.array([s.label for s in segmentation.segments], dtype=segmentation.label_dtype)
    with path.open("wb") as stream:
        np.savez_compressed(
            stream, segs=segs, names=names, labels=numbers, layers=np.array(layers), **header
        )


def told_in(path: Path, notes: list[str]) -> tuple[list[str], list[int]]:
    """Read the names and labels of a mask file's objects; pickled ones are left out, with a note."""
    found: dict[str, list[Any]] = {}
    with open_archive(path) as archive:
        for key in ("names", "labels"):
            try:
                found[key] = np.ravel(archive.take(key, _MOST_NAMES)).tolist()
            except PromptsegError as error:
                found[key] = []
                if key in archive:
                    reason = error.got.removeprefix(f"{archive.path}: ")
                    notes.append(f"its {key} of objects are not read: {reason}")
    return [str(n) for n in found["names"]], [v for v in found["labels"] if isinstance(v, int)]


def _place_in(archive: Archive) -> dict[str, NDArray[Any]]:
    """What an archive says of its grid."""
    keys = (k for k in ("spacing", "origin", "direction") if k in archive)
    return {k: archive.take(k, FEW_BYTES) for k in keys}


def _geometry(shape: tuple[int, ...], extra: dict[str, NDArray[Any]]) -> Geometry:
    if "spacing" not in extra or len(shape) == 2:
        return Geometry.pixels(shape)
    spacing = np.ravel(extra["spacing"])
    if spacing.shape != (3,):
        raise InputError("a spacing of 3 numbers (x, y, z)", f"shape {extra['spacing'].shape}")
    origin = np.ravel(extra.get("origin", np.zeros(3)))
    direction = np.ravel(extra.get("direction", np.eye(3)))
    if origin.shape != (3,) or direction.shape != (9,):
        raise InputError("an origin of 3 and a direction of 9 numbers", "other shapes")
    return Geometry.from_spacing(shape, spacing, origin, direction.reshape(3, 3))


def _prompts(boxes: NDArray[Any], dimensions: int) -> tuple[Prompt, ...]:
    boxes = np.atleast_2d(boxes)
    if dimensions == 2 and boxes.shape[1:] == (4,):
        return tuple(Box(tuple(b)) for b in boxes.tolist())
    if dimensions == 3 and boxes.shape[1:] == (6,):
        return tuple(Box3D(tuple(b), f"object {k}") for k, b in enumerate(boxes.tolist(), 1))
    raise InputError(
        "boxes of 4 numbers in 2D images or 6 in volumes", f"shape {boxes.shape}", "correct them"
    )
