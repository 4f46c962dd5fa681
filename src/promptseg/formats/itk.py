"""What NRRD and MetaImage share: voxels and grids as ITK holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.memory import require_memory
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source

__all__ = ["masks_to_itk", "read_itk"]

_MAX_BYTES_PER_VALUE = 4


def read_itk(path: Path, name: str) -> Image:
    """Read a 2D or 3D image of one or three channels with SimpleITK.

    Raises:
        InputError: more than three dimensions, or channels that are not RGB.
    """
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    channels = header.GetNumberOfComponents()
    require_memory((*header.GetSize(), channels), _MAX_BYTES_PER_VALUE, path)
    itk = sitk.ReadImage(str(path))
    dimension = itk.GetDimension()
    if dimension not in (2, 3) or channels not in (1, 3):
        raise InputError(
            "a 2D or 3D image with one value or RGB per voxel",
            f"{path}: {dimension} dimensions, {channels} values per voxel",
            "save one frame or channel as a file of its own",
        )
    voxels = sitk.GetArrayFromImage(itk)
    matrix, origin = np.eye(3), np.zeros(3)
    direction = np.reshape(itk.GetDirection(), (dimension, dimension))
    matrix[:dimension, :dimension] = direction * np.asarray(itk.GetSpacing())
    origin[:dimension] = itk.GetOrigin()
    shape = voxels.shape[:dimension]
    return Image(voxels, Geometry(shape, matrix, origin), source=Source(path, name))


def masks_to_itk(segmentation: Segmentation, layers: bool) -> sitk.Image:
    """Labels, or one vector component per object, on the grid of the segmentation."""
    geometry = segmentation.geometry
    if layers:
        masks: NDArray[Any] = np.moveaxis(segmentation.layers(), 0, -1)
    else:
        masks = segmentation.labels(later_wins=True)
    itk = sitk.GetImageFromArray(masks, isVector=layers)
    d = geometry.ndim
    itk.SetSpacing(geometry.spacing[:d].tolist())
    itk.SetOrigin(geometry.origin[:d].tolist())
    itk.SetDirection(geometry.direction[:d, :d].ravel().tolist())
    return itk
