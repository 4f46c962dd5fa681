"""Parts that NRRD and MetaImage share: voxels and grids as ITK holds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.checksums import Packed, require_intact
from promptseg.formats.detached import HEADER_BYTES, data_file
from promptseg.formats.files import require_file
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.formats.quiet import quiet
from promptseg.formats.ras import magnitude
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation, Source
from promptseg.notes import Note

__all__ = [
    "check_data_file",
    "frame_of",
    "masks_to_itk",
    "opened",
    "read_itk",
    "voxels_of",
]

_MAX_BYTES_PER_VALUE = 4
_IMAGE_IO = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}


def opened(path: Path, name: str) -> sitk.ImageFileReader:
    """Open a file with ITK and read its header alone; refuse voxels that would not fit into memory."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[name])
    reader.SetFileName(str(path))
    with quiet():
        reader.ReadImageInformation()
    require_memory((*reader.GetSize(), reader.GetNumberOfComponents()), _MAX_BYTES_PER_VALUE, path)
    return reader


def voxels_of(reader: sitk.ImageFileReader, packed: Packed | None) -> NDArray[Any]:
    """Read the voxels (z, y, x[, c]) of an opened file; the array is ITK's own memory, not a copy.

    Args:
        reader: from `opened`.
        packed: where they are, if they are one compressed stream: its checksum is compared then.

    Raises:
        InputError: damaged voxels.
    """
    with quiet():
        held = _Held(reader.Execute())
    voxels: NDArray[Any] = np.asarray(held)
    if packed is not None:
        require_intact(voxels, packed)
    return voxels


class _Held:
    """The memory of an ITK image as numpy sees it; arrays made of it keep the image alive."""

    def __init__(self, image: sitk.Image) -> None:
        view = sitk.GetArrayViewFromImage(image)
        self.image = image
        place, _ = view.__array_interface__["data"]
        self.__array_interface__ = {**view.__array_interface__, "data": (place, False)}


def read_itk(
    path: Path,
    name: str,
    options: ReadOptions | None = None,
    colour: bool | None = None,
    packed: Packed | None = None,
) -> Image:
    """Read a 2D or 3D frame of one or three channels with SimpleITK.

    Args:
        path: the file.
        name: its format, a key of the readers ITK has for it.
        options: the frame, where there are more than three dimensions or channels without colour.
        colour: whether the channels are colours; None if the file does not say: then three channels
            of 8 or 16 bits are.
        packed: where its voxels are, if they are one compressed stream.

    Raises:
        InputError: several frames and no choice, or data outside the folder of the file.
    """
    check_data_file(path)
    header = opened(path, name)
    voxels = voxels_of(header, packed)
    channels = voxels.shape[-1] if voxels.ndim > header.GetDimension() else 1
    notes: list[str] = []
    if colour is None:
        colour = channels == 3 and voxels.dtype in (np.uint8, np.uint16)
    colour = colour and channels in (3, 4)
    if channels > 1 and not colour:
        voxels = np.moveaxis(voxels, -1, 0)
    d = min(header.GetDimension(), 3)
    voxels = frame_of(voxels, d + colour, path, options or ReadOptions(), notes)
    if colour and channels == 4:
        voxels = np.ascontiguousarray(voxels[..., :3])
        notes.append("transparency ignored")
    matrix, origin = np.eye(3), np.zeros(3)
    direction = np.reshape(header.GetDirection(), (header.GetDimension(),) * 2)[:d, :d]
    matrix[:d, :d] = direction * np.asarray(header.GetSpacing()[:d])
    origin[:d] = header.GetOrigin()[:d]
    geometry = Geometry(voxels.shape[:d], matrix, origin)
    return Image(voxels, geometry, source=Source(path, name, notes=notes))


def frame_of(
    voxels: NDArray[Any], dimensions: int, path: Path, options: ReadOptions, notes: list[str]
) -> NDArray[Any]:
    """Choose one frame of `voxels`; all axes but the last `dimensions` count frames, the last fastest.

    Returns:
        Real voxels of that many dimensions, magnitudes of complex ones.
    """
    frames = voxels.reshape(-1, *voxels.shape[voxels.ndim - dimensions :])
    chosen = options.frame_of(len(frames), path)
    if len(frames) > 1:
        notes.append(Note.frame(chosen, len(frames)))
    frame = frames[chosen]
    return np.ascontiguousarray(magnitude(frame, notes) if frame.dtype.kind == "c" else frame)


def check_data_file(path: Path) -> None:
    """Refuse headers that point to data outside their own folder.

    A detached header (.nhdr, .mhd) may name one file beside it; the others hold their data themselves.
    """
    meta = path.suffix.lower() in (".mhd", ".mha")
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    if not meta:
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]  # a blank line ends a NRRD header
    target = data_file(head)
    if target is None and (meta or len(head) == HEADER_BYTES):
        raise InputError(
            f"a header that ends within {HEADER_BYTES >> 10} KiB", str(path), "check the file"
        )
    if target is None or target == "LOCAL":
        return
    detached = path.suffix.lower() in (".nhdr", ".mhd")
    plain = Path(target).name == target and "%" not in target and "LIST" not in target
    if not (detached and plain):
        raise InputError(
            "image data in the file itself, or for .nhdr and .mhd in a file beside it",
            f"{path} pointing to {target!r}",
            "save it as one file (.nrrd, .mha)",
        )
    require_file(path.parent / target, f"the file {target} that {path} points to")


def masks_to_itk(segmentation: Segmentation, layers: bool) -> sitk.Image:
    """Make an ITK image of the masks: labels, or with `layers` vectors of one component per object."""
    geometry = segmentation.geometry
    if layers:
        masks: NDArray[Any] = np.moveaxis(segmentation.numbered_layers(), 0, -1)
    else:
        masks = segmentation.labels(later_wins=True)
    itk = sitk.GetImageFromArray(masks, isVector=layers)
    d = geometry.ndim
    itk.SetSpacing(geometry.spacing[:d].tolist())
    itk.SetOrigin(geometry.origin[:d].tolist())
    itk.SetDirection(geometry.direction[:d, :d].ravel().tolist())
    return itk
