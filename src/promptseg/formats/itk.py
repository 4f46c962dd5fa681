"""What NRRD and MetaImage share: voxels and grids as ITK holds them."""

from __future__ import annotations

import re
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
_IMAGE_IO = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}
_HEADER_BYTES = 1 << 16
_DATA_FILE = re.compile(rb"^\s*(?:data ?file\s*:|ElementDataFile\s*=)\s*(.*?)\s*$", re.I | re.M)


def read_itk(path: Path, name: str) -> Image:
    """Read a 2D or 3D image of one or three channels with SimpleITK.

    Raises:
        InputError: more than three dimensions, or channels that are not RGB.
    """
    _check_data_file(path)
    header = sitk.ImageFileReader()
    header.SetImageIO(_IMAGE_IO[name])
    header.SetFileName(str(path))
    header.ReadImageInformation()
    channels = header.GetNumberOfComponents()
    require_memory((*header.GetSize(), channels), _MAX_BYTES_PER_VALUE, path)
    itk = header.Execute()
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


def _check_data_file(path: Path) -> None:
    """Refuse headers that point to data outside their own folder.

    A detached header (.nhdr, .mhd) may name one file beside it; the others hold their data themselves.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
    if path.suffix.lower() not in (".mhd", ".mha"):
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]  # a blank line ends a NRRD header
    match = _DATA_FILE.search(head)
    if match is None or match[1] == b"LOCAL":
        return
    target = match[1].decode("utf-8", "replace")
    detached = path.suffix.lower() in (".nhdr", ".mhd")
    plain = Path(target).name == target and "%" not in target and "LIST" not in target
    if not (detached and plain) or not (path.parent / target).is_file():
        raise InputError(
            "image data in the file itself, or for .nhdr and .mhd in a file beside it",
            f"{path} pointing to {target!r}",
            "save it as one file (.nrrd, .mha)",
        )


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
