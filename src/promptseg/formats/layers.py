"""Mask files that keep one layer per object, as this package and 3D Slicer write them.

A layer is a frame of NIfTI or MGZ, an entry of the list axis of NRRD, a channel of MHA, a page or a
channel of TIFF, the first axis of `segs` in npz or a stream of a label video. Pages of a TIFF may as
well be slices: what they are is said by the file, by the user, or by the image they belong to. The grid
is that of the first layer, read as a file of its own.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats.archive import FEW_BYTES, open_archive
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.objects import Told
from promptseg.formats.options import Pages, ReadOptions
from promptseg.formats.whole import whole_labels
from promptseg.geometry import Geometry
from promptseg.image import Image, Source
from promptseg.notes import notes_of

if TYPE_CHECKING:
    from promptseg.formats.tiff_axes import Stated

__all__ = ["Layers", "read_layers"]


@dataclass(frozen=True)
class Layers:
    """The layers of a mask file, and what it tells of the objects in them.

    Attributes:
        labels: (layer, *grid) whole numbers; 0 is background.
        first: the first layer as an image, for its grid and source.
        told: names and labels of the objects, where the file keeps them with its layers.
    """

    labels: NDArray[Any]
    first: Image
    told: tuple[Told, ...] = ()


def read_layers(
    path: Path, format_name: str, image: Image | None = None, pages: Pages = "auto"
) -> Layers | None:
    """Read the layers of a mask file; None if it is an ordinary label image.

    Args:
        path: an existing file.
        format_name: name of its format in the registry.
        image: what the masks belong to, if it is known.
        pages: what the pages of a TIFF are, if the user has said so.

    Raises:
        InputError: layers that are no labels, or a file that cannot be read.
    """
    reader = _READERS.get(format_name)
    if format_name == "tiff":
        found = _of_tiff(path, image, pages)
    else:
        found = reader(path) if reader else None
    if found is None:
        return None
    labels = whole_labels(found.labels, path, found.first.source.notes)
    return dataclasses.replace(found, labels=labels)


def _of_nifti(path: Path) -> Layers | None:
    import nibabel as nib

    from promptseg.formats import nifti
    from promptseg.formats.ras import every_frame, opened

    notes: list[str] = []
    with opened(path) as file:
        whole = nifti.single(file, notes)
        if len(whole.shape) != 4 or whole.shape[3] < 2:
            return None
        every = every_frame(whole, path)
        labels = every.transpose(3, 2, 1, 0)
        first = type(whole)(every[..., 0], None, whole.header)
        alone = _read_alone(path, ".nii", lambda p: nib.save(first, p), nifti.read)
    alone.source.notes.extend(notes)
    return Layers(labels, alone)


def _of_freesurfer(path: Path) -> Layers | None:
    import nibabel as nib

    from promptseg.formats import freesurfer
    from promptseg.formats.ras import every_frame, opened

    with opened(path) as file:
        whole: Any = nib.MGHImage.from_file_map({"image": file}, mmap=False)
        if len(whole.shape) != 4 or whole.shape[3] < 2:
            return None
        first = freesurfer.read(path, ReadOptions(frame=0))
        labels = every_frame(whole, path).transpose(3, 2, 1, 0)
    notes = first.source.notes  # all frames are wanted, not one of them
    notes[:] = [note for note in notes if note not in notes_of(notes, "frame")]
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


def _of_tiff(path: Path, image: Image | None, pages: Pages) -> Layers | None:
    """Pages that are objects of one picture: because the file, the user or the image says so.

    Raises:
        InputError: pages of which nobody says what they are, and which might be either.
    """
    from promptseg.formats import image_2d, tiff

    stated, count = tiff.axes_in(path)
    if count < 2:
        return None
    channels = stated.size("C") if stated else 1
    layered = _says_layers(path, stated, count, image, pages)
    if layered is False:
        return None
    if channels > 1 and stated is not None:
        numbers = np.moveaxis(stated.pages, stated.axes.index("C"), 0)
    else:
        numbers = np.arange(count)[:, None]
    grid = tuple(n for n in numbers.shape[1:] if n > 1)
    stored = image_2d.stored_pages(path, [int(n) for n in numbers.ravel()])
    if len({page.shape for page in stored}) > 1 or stored[0].ndim != 2:
        if layered is None:
            return None
        raise InputError("gray pages of one size", f"{path} with others", "save one page alone")
    labels = np.stack(stored).reshape(len(numbers), *grid, *stored[0].shape)
    if layered is None:
        if not set(np.unique(labels).tolist()) <= {0, 255}:
            return None
        raise InputError(
            "a TIFF that says what its pages are",
            f"{path}: {count} pages of 0 and 255, slices of one mask or one object each",
            "name the image they belong to, or say --pages slices or --pages layers",
        )
    first = image_2d.read_labels(path, ReadOptions(frame=0))
    first.source.notes[:] = [n for n in first.source.notes if not n.startswith("frame 0 of")]
    objects = stated.objects if stated else ()
    told = [Told(name, label, layer=k) for k, (label, name) in enumerate(objects)]
    return Layers(labels, first, told=tuple(told))


def _says_layers(
    path: Path, stated: Stated | None, count: int, image: Image | None, pages: Pages
) -> bool | None:
    """Whether the pages of a TIFF are objects; None if nobody says."""
    if pages != "auto":
        return pages == "layers"
    if stated is not None and stated.by == "promptseg":
        return True
    if stated is not None and (stated.size("Z") > 1 or stated.size("T") > 1):
        return stated.size("C") > 1 and stated.size("Z") * stated.size("C") == stated.pages.size
    if stated is not None and stated.size("C") > 1:
        return True
    if image is not None:
        return image.geometry.ndim == 2 or image.geometry.shape[0] == 1
    return True if _objects_told(path) == count else None


def _objects_told(path: Path) -> int:
    """How many objects the provenance beside a file of ours tells of; 0 without one."""
    said = read_provenance_beside(path)
    objects = said.get("objects") if said.get("overlap") == "keep" else None
    return len(objects) if isinstance(objects, list) else 0


def _of_npz(path: Path) -> Layers | None:
    from promptseg.formats import npz

    with open_archive(path) as archive:
        if "segs" not in archive or "names" not in archive:
            return None
        if len(archive.shape("segs")) not in (3, 4):
            return None
        said = bool(archive.take("layers", FEW_BYTES).any()) if "layers" in archive else None
        count = prod(archive.shape("names"))
        if said is False or (said is None and count < 2):
            return None
        segs = archive.take("segs")
        keys = (k for k in ("spacing", "origin", "direction") if k in archive)
        rest = {k: archive.take(k, FEW_BYTES) for k in keys}
    if said is None and not (len(segs) == count > 1 and segs.max(initial=0) <= 1):
        return None
    first = {"segs": segs[0], **rest}
    return Layers(segs, _read_alone(path, ".npz", lambda p: np.savez(p, **first), npz.read_labels))


def _of_video(path: Path) -> Layers | None:
    from promptseg.formats.video.labels import read_label_streams

    found = read_label_streams(path)
    if found is None:
        return None
    labels, names = found
    first = Image(
        labels[0], Geometry.pixels(labels.shape[1:]), source=Source(path, "video"), video=True
    )
    several = len(labels) > 1
    told = [Told(name, k + 1, layer=k if several else None) for k, name in enumerate(names)]
    return Layers(labels, first, told=tuple(told))


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
    "npz": _of_npz,
    "video": _of_video,
}
