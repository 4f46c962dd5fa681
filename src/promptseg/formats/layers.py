"""Mask files that keep one layer per object, as this package and 3D Slicer write them.

A layer is a frame of NIfTI or MGZ, an entry of the list axis of NRRD, a channel of MHA, a page of
TIFF or the first axis of `segs` in npz. The grid is that of the first layer, read as a file of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError, LabelsError
from promptseg.formats.archive import FEW_BYTES, open_archive
from promptseg.formats.memory import require_memory
from promptseg.formats.options import ReadOptions
from promptseg.image import Image
from promptseg.notes import Note

__all__ = ["Layers", "read_layers"]


@dataclass(frozen=True)
class Layers:
    """What a layered mask file holds.

    Attributes:
        labels: (layer, *grid) whole numbers; 0 is background.
        first: the first layer as an image, for its grid and source.
    """

    labels: NDArray[Any]
    first: Image


def read_layers(path: Path, format_name: str) -> Layers | None:
    """The layers of a mask file; None if it is an ordinary label image.

    Args:
        path: an existing file.
        format_name: name of its format in the registry.

    Raises:
        InputError: layers that are no labels, or a file that cannot be read.
    """
    reader = _READERS.get(format_name)
    found = reader(path) if reader else None
    if found is None:
        return None
    labels = found.labels
    whole = labels.dtype.kind in "biu" or (
        np.isfinite(labels).all() and (labels == np.round(labels)).all()
    )
    if not whole or labels.min(initial=0) < 0 or labels.max(initial=0) > 65_535:
        raise LabelsError("layers of whole numbers from 0 to 65535", f"{path} with other values")
    return Layers(labels.astype(np.uint16), found.first)


def _of_nifti(path: Path) -> Layers | None:
    import nibabel as nib

    from promptseg.formats import nifti

    whole: Any = nib.load(path, mmap=False)
    if len(whole.shape) != 4 or whole.shape[3] < 2:
        return None
    require_memory(whole.shape, whole.get_data_dtype().itemsize, path)
    labels = np.asarray(whole.dataobj).transpose(3, 2, 1, 0)
    first = whole.slicer[..., 0]
    return Layers(labels, _read_alone(path, ".nii", lambda p: nib.save(first, p), nifti.read))


def _of_freesurfer(path: Path) -> Layers | None:
    import nibabel as nib

    from promptseg.formats import freesurfer
    from promptseg.formats.ras import opened

    with opened(path) as file:
        whole: Any = nib.MGHImage.from_file_map({"image": file}, mmap=False)
        if len(whole.shape) != 4 or whole.shape[3] < 2:
            return None
        require_memory(whole.shape, whole.get_data_dtype().itemsize, path)
        first = freesurfer.read(path, ReadOptions(frame=0))
        labels = np.asarray(whole.dataobj).transpose(3, 2, 1, 0)
    notes = first.source.notes  # all frames are wanted, not one of them
    notes[:] = [note for note in notes if not (isinstance(note, Note) and note.kind == "frame")]
    return Layers(labels, first)


def _of_itk(path: Path) -> Layers | None:
    import SimpleITK as sitk  # noqa: N813

    from promptseg.formats import metaimage, nrrd
    from promptseg.formats.itk import check_data_file, opened, voxels_of

    meta = path.suffix.lower() == ".mha"
    check_data_file(path)
    packed = metaimage.packed_in(path) if meta else None
    header = opened(path, "metaimage" if meta else "nrrd")
    if header.GetNumberOfComponents() < 2:
        return None
    packed = packed if meta else nrrd.packed_in(path)
    labels = np.moveaxis(voxels_of(header, packed), -1, 0)
    first = sitk.GetImageFromArray(labels[0])
    first.SetSpacing(header.GetSpacing())
    first.SetOrigin(header.GetOrigin())
    first.SetDirection(header.GetDirection())
    write = sitk.WriteImage
    return Layers(labels, _read_alone(path, ".mha", lambda p: write(first, str(p)), metaimage.read))


def _of_tiff(path: Path) -> Layers | None:
    from promptseg.formats import picture
    from promptseg.formats.pillow import open_picture

    with open_picture(path) as pages:
        count = getattr(pages, "n_frames", 1)
        if count < 2:
            return None
        require_memory((count, pages.height, pages.width), 1, path)
        stack = []
        for k in range(count):
            pages.seek(k)
            stack.append(np.array(pages))
        pages.seek(0)
        first = _read_alone(path, ".png", pages.save, picture.read)
    if len({page.shape for page in stack}) > 1 or stack[0].ndim != 2:
        raise InputError("gray pages of one size", f"{path} with others", "save one page alone")
    return Layers(np.stack(stack) > 0, first)


def _of_npz(path: Path) -> Layers | None:
    from promptseg.formats import npz

    with open_archive(path) as archive:
        if "segs" not in archive or "names" not in archive:
            return None
        if len(archive.shape("segs")) not in (3, 4):
            return None
        segs, names = archive.take("segs"), archive.take("names", npz.MOST_NAMES)
        keys = (k for k in ("spacing", "origin", "direction") if k in archive)
        rest = {k: archive.take(k, FEW_BYTES) for k in keys}
    layered = segs.ndim in (3, 4) and len(segs) == len(names) > 1 and segs.max(initial=0) <= 1
    if not layered:
        return None
    first = {"segs": segs[0], **rest}
    return Layers(segs, _read_alone(path, ".npz", lambda p: np.savez(p, **first), npz.read_labels))


def _read_alone(
    path: Path, ending: str, write: Callable[[Path], Any], read: Callable[[Path], Image]
) -> Image:
    """One layer as an image of its own, with the name of the file it came from."""
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / f"layer{ending}"
        write(alone)
        image = read(alone)
    image.source.path = path
    return image


_READERS: dict[str, Callable[[Path], Layers | None]] = {
    "nifti": _of_nifti,
    "freesurfer": _of_freesurfer,
    "nrrd": _of_itk,
    "metaimage": _of_itk,
    "tiff": _of_tiff,
    "npz": _of_npz,
}
