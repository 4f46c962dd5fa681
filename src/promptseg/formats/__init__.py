"""Files in, files out: one module per family, one table that picks (`promptseg.formats.table`)."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import os
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptseg.errors import ChoiceError, InputError, OutputError, PromptsegError, is_fault
from promptseg.formats.files import is_file, require_file
from promptseg.formats.location import address_in, refuse_web_address, storage_in
from promptseg.formats.ome_zarr import is_ome_zarr
from promptseg.formats.options import Outlines, ReadOptions
from promptseg.formats.table import FORMATS, Format, endings, format_by_suffix, format_named
from promptseg.formats.whole import whole_labels
from promptseg.image import MODALITIES, Image, Segmentation
from promptseg.notes import Note

if TYPE_CHECKING:
    from promptseg.formats.colour_coded import Colours

__all__ = [
    "FORMATS",
    "Format",
    "ReadOptions",
    "endings",
    "format_by_suffix",
    "format_for_output",
    "format_named",
    "is_dicom_file",
    "read",
    "read_labels",
    "writer_of",
]

_SAID = {"picture": "2D image", "volume": "volume"}


def read(
    path: str | Path,
    options: ReadOptions | None = None,
    *,
    modality: str | None = None,
    **choices: Any,
) -> Image:
    """Read a 2D image, a volume, a video or a folder with one DICOM series or with numbered frames.

    Args:
        path: file or folder, or the address of a series, dicomweb://....
        options: choices that the file leaves open.
        modality: overrides what the file says; one of `promptseg.image.MODALITIES`.
        choices: fields of `ReadOptions` by name, over those of `options`.

    Returns:
        The image, voxels (z, y, x), (t, y, x) or (y, x) with an optional last RGB axis.

    Raises:
        InputError: the path is missing, unreadable, not an image, not finite, or has no such
            choice.

    Examples:
        >>> import nibabel
        >>> import numpy as np
        >>> import promptseg
        >>> affine = np.diag([-0.7, -0.7, 5.0, 1.0])
        >>> nibabel.save(nibabel.Nifti1Image(np.zeros((48, 64, 20), np.int16), affine), "scan.nii.gz")
        >>> image = promptseg.read("scan.nii.gz", modality="CT")
        >>> (image.kind, image.voxels.shape, image.geometry.orientation)
        ('volume', (20, 64, 48), 'LPS')
    """
    path = Path(path)
    options = dataclasses.replace(options or ReadOptions(), **choices)
    options.check()
    if modality is not None and modality not in MODALITIES:
        raise InputError(f"a modality out of {', '.join(MODALITIES)}", repr(modality))
    if options.nan_as is not None and not np.isfinite(options.nan_as):
        raise InputError("a finite value in place of NaN", repr(options.nan_as))
    image = _read_as_is(path, options)
    if modality is not None:
        image.modality = modality
    _check_values(image, options.nan_as)
    return image


def read_labels(path: str | Path, colours: str | Colours | None = None) -> Image:
    """Read integer labels: a label image in any format, or `segs` / `gts` of an npz.

    2D images give the numbers they store, not the colours they are shown in; values a rounding away
    from whole ones are rounded, with a note.

    Args:
        path: the file.
        colours: which label each colour of a colour-coded mask is, as a table or as `--colours` has it;
            with it a palette stands for its colours, too.

    Returns:
        An image of whole numbers from 0; it may be all background.

    Raises:
        InputError: as `read`, or values that are no labels.
    """
    from promptseg.formats.colour_coded import labels_of_colours, parse_colours, refuse_colours

    path = Path(path)
    if isinstance(colours, str):
        colours = parse_colours(colours)
    image = _read_as_is(path, labels=colours is None)
    notes = image.source.notes  # without advice on options, which are for images
    notes[:] = [note.bare if isinstance(note, Note) else note for note in notes]
    if colours is not None and not image.is_colour:
        image = _read_as_is(path, labels=True)
    if image.is_colour and colours is None:
        raise refuse_colours(image.voxels, path)
    if image.is_colour and colours is not None:
        image.voxels = labels_of_colours(image.voxels, colours, path)
        return image
    scale = getattr(_format_of(path).load(), "scale_of", lambda _: "")
    image.voxels = whole_labels(image.voxels, path, image.source.notes, lambda: scale(path))
    return image


def _read_as_is(path: Path, options: ReadOptions | None = None, labels: bool = False) -> Image:
    """What the format's reader makes of a path, values unchecked; its errors as one of ours.

    `labels`: whether the file is of labels, which some formats keep or show in another way.
    """
    chosen = _format_of(path)
    options = options or ReadOptions()
    for name in options.chosen():
        if name not in chosen.choices:
            able = ", ".join(f.name for f in FORMATS if name in f.choices)
            raise InputError(
                f"an image with a choice of {name} ({able})",
                f"{path}, {chosen.name}",
                f"leave --{name} out",
            )
    module = chosen.load()
    read_it = getattr(module, "read_labels", module.read) if labels else module.read
    try:
        image: Image = read_it(path, options)
    except PromptsegError as error:
        if labels and isinstance(error, ChoiceError):  # by an option of images
            do = "save the one that is meant as a file of its own"
            raise InputError(error.expected, error.got, do) from None
        raise
    except MemoryError:
        raise InputError("an image that fits into memory", str(path), "crop it first") from None
    except Exception as error:  # libraries raise anything on broken files
        if is_fault(error):
            raise
        raise InputError(
            f"a readable {chosen.name} image",
            f"{path} ({_first_line(error)})",
            "check that the file is complete and of the type its name says",
        ) from error
    return image


def writer_of(
    segmentation: Segmentation, path: Path, overlap: str = "keep", outlines: Outlines = "rle"
) -> Callable[[Path], None]:
    """Return a function that writes masks to any path, in the format that the suffix of `path` names.

    `outlines`: of COCO, run lengths or polygons.

    Raises:
        OutputError: unknown or unsuitable format, or objects that overlap in one without layers.
    """
    if overlap not in ("keep", "later-wins"):
        raise OutputError("overlap to be keep or later-wins", repr(overlap))
    chosen = format_for_output(path, segmentation)
    later_wins = overlap == "later-wins"
    layers = not later_wins and bool(segmentation.overlaps())
    if layers and not chosen.layers:
        _refuse_overlap(segmentation)
    write: Callable[..., None] = chosen.load_writer().write
    if chosen.name == "coco" and outlines != "rle":
        write = partial(write, outlines=outlines)
    return lambda temporary: write(segmentation, temporary, layers)


def _refuse_overlap(segmentation: Segmentation) -> None:
    """Refuse objects that overlap in a single label image, and name the formats that hold them."""
    try:
        segmentation.labels()
    except OutputError as error:
        kind = "picture" if segmentation.geometry.ndim == 2 else "volume"
        raise OutputError(
            error.expected,
            error.got,
            f"write {', '.join(endings(kind, layers=True))}, which keep one layer per object, or let "
            "later objects win with --overlap later-wins",
        ) from None


def format_for_output(path: Path, segmentation: Segmentation | Image) -> Format:
    """Return the format that `path` names, if it can hold masks of this kind."""
    kind = "picture" if segmentation.geometry.ndim == 2 else "volume"
    chosen = format_by_suffix(path)
    able = ", ".join(endings(kind))
    if chosen is None or kind not in chosen.writes:
        reason = "no known mask format" if chosen is None else f"{chosen.name} cannot hold it"
        raise OutputError(
            f"an output file for a {_SAID[kind]} mask ({able})",
            f"{path.name!r} ({reason})",
            "rename it",
        )
    if chosen.writer or chosen.folder:
        chosen.load_writer().check(segmentation)
    return chosen


def _format_of(path: Path) -> Format:
    if address_in(path):
        return format_named("dicomweb")
    if storage_in(path):
        return format_named("storage")
    if os.path.isdir(path):  # never raises, unlike Path.is_dir
        if is_ome_zarr(path):
            return format_named("ome-zarr")
        return format_named("frames" if _holds_frames(path) else "dicom")
    refuse_web_address(path)
    require_file(path, "an image file or a DICOM folder")
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[128:132] == b"DICM":  # whatever its name: .img is a common one
        return format_named("dicom")
    chosen = format_by_suffix(path)
    if chosen is not None:
        return chosen
    if head[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError, zlib.error), gzip.open(path) as stream:
            head = stream.read(348)
        if head[344:347] not in (b"n+1", b"ni1") and head[4:7] != b"n+2":
            head = b""
    if head[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return format_named("nifti")
    if head[:4] == b"NRRD":
        return format_named("nrrd")
    known = ", ".join(suffix for f in FORMATS for suffix in f.suffixes)
    raise InputError("an image file", f"{path}: not recognised", f"known endings: {known}")


def _holds_frames(folder: Path) -> bool:
    """Whether a folder has images and no DICOM files."""
    from promptseg.formats.video.names import holds_images

    return holds_images(folder) and not any(map(is_dicom_file, sorted(folder.iterdir())))


def is_dicom_file(path: Path) -> bool:
    """Tell whether a file starts like a DICOM file."""
    try:
        if not is_file(path):
            return False
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _check_values(image: Image, nan_as: float | None) -> None:
    voxels = image.voxels
    if np.issubdtype(voxels.dtype, np.floating):
        bad = sum(int((~np.isfinite(part)).sum()) for part in voxels)
        if bad and nan_as is None:
            raise InputError(
                "finite voxel values",
                f"{bad} NaN or infinite voxels in {image.name}",
                "say what they should be with --nan-as VALUE",
            )
        if bad:
            image.voxels = np.where(np.isfinite(voxels), voxels, voxels.dtype.type(nan_as))
            image.source.notes.append(f"{bad} NaN or infinite voxels were set to {nan_as:g}")
    low, high = image.voxels.min(), image.voxels.max()
    if low == high:
        image.source.notes.append(f"every voxel is {low}")


def _first_line(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    of_itk = "sitk::" in lines[0] or "SimpleITK" in lines[0] or "ITK ERROR" in str(error)
    return lines[-1 if of_itk else 0].strip()[:200]
