"""FreeSurfer volumes (.mgz, .mgh) through nibabel.

The header holds voxel sizes, direction columns (which may be sheared) and the position of the middle
of the grid, in RAS; without its "good RAS" flag they mean nothing and FreeSurfer's own default holds:
coronal slices of 1 mm around the origin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from promptseg.formats.options import ReadOptions
from promptseg.formats.ras import lps_from_ras, opened, spatial_shape, voxels_of
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["read", "write"]

_GEOMETRY_FIELDS = ("goodRASFlag", "delta", "Mdc", "Pxyz_c")
_CORONAL = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # columns: Left, Inferior, Anterior
_GOOD_RAS_FLAG = slice(28, 30)  # looked up in the file: nibabel sets it while reading
_LABEL_TYPES = (np.uint8, np.int16, np.int32)


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one frame of an MGZ or MGH file.

    Raises:
        InputError: several frames and no choice, or a truncated file.
    """
    source = Source(path, "freesurfer")
    with opened(path) as file:
        good_ras = any(file.fileobj.read(_GOOD_RAS_FLAG.stop)[_GOOD_RAS_FLAG])
        mgh: Any = nib.MGHImage.from_file_map({"image": file}, mmap=False)
        voxels = voxels_of(mgh, path, options or ReadOptions(), source.notes)
    shape = spatial_shape(mgh, path)
    if good_ras:
        source.header = mgh.header
        matrix, centre = (
            mgh.header["Mdc"].T.astype(float) * mgh.header["delta"],
            mgh.header["Pxyz_c"],
        )
    else:  # nibabel's default differs from FreeSurfer's
        source.notes.append("no orientation in the header: FreeSurfer's default, coronal at 1 mm")
        matrix, centre = _CORONAL, np.zeros(3)
    grid = lps_from_ras(matrix, centre - matrix @ np.divide(shape, 2))
    return Image(voxels, Geometry(shape[::-1], *grid), source=source)


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels (x, y, z) or, with `layers`, one frame per object (x, y, z, object).

    The geometry fields of an input of this format are copied as they are.
    """
    geometry, source = segmentation.geometry, segmentation.header_of("freesurfer")
    masks: NDArray[Any] = (
        segmentation.numbered_layers() if layers else segmentation.labels(later_wins=True)
    )
    if geometry.ndim == 2:
        masks = masks[..., None, :, :]
    voxels = masks.transpose(3, 2, 1, 0) if layers else masks.transpose(2, 1, 0)
    top = int(voxels.max(initial=0))
    dtype = next(t for t in _LABEL_TYPES if top <= np.iinfo(t).max)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = lps_from_ras(geometry.matrix, geometry.origin)
    image: Any = nib.MGHImage(voxels.astype(dtype), affine)
    if source is not None:
        for field in _GEOMETRY_FIELDS:
            image.header[field] = source[field]
    nib.save(image, path)
