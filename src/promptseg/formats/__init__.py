"""Files in, files out: one module per family, one table that picks.

To add a family, write a module with `read(path, options) -> Image` and, if it can hold masks,
`write(segmentation, path, layers) -> None`, and give it a line in `FORMATS`. Modules are imported
only when a file needs them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats.files import is_file, require_file
from promptseg.formats.location import address_in
from promptseg.formats.options import ReadOptions
from promptseg.formats.whole import whole_labels
from promptseg.image import MODALITIES, Image, Segmentation

if TYPE_CHECKING:
    from promptseg.formats.colour_coded import Colours

__all__ = [
    "FORMATS",
    "Format",
    "ReadOptions",
    "format_by_suffix",
    "format_for_output",
    "is_dicom_file",
    "read",
    "read_labels",
    "writer_of",
]


@dataclass(frozen=True)
class Format:
    """One family of files.

    Attributes:
        name: short name, used in `Source.format`.
        suffixes: file name endings, longest first.
        module: module under `promptseg.formats` that reads and writes it.
        writes: kinds of segmentations it can hold; empty for read-only families.
        layers: whether it can hold overlapping objects, one layer each.
        choices: fields of `ReadOptions` that its reader knows.
        writer: module that writes masks, where it is another one; it also has
            `check(segmentation or image) -> None`, which refuses early what it cannot write.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    writes: frozenset[str] = frozenset()
    layers: bool = False
    choices: frozenset[str] = frozenset()
    writer: str = ""

    def load(self) -> Any:
        """The module that reads."""
        return import_module(f"promptseg.formats.{self.module}")

    def load_writer(self) -> Any:
        """The module that writes."""
        return import_module(f"promptseg.formats.{self.writer or self.module}")


_ANY = frozenset({"picture", "volume"})
_PICTURE = frozenset({"picture"})
_VOLUME = frozenset({"volume"})
_FRAME = frozenset({"frame"})
_SLIDE = frozenset({"region", "microns"})
_DICOM = frozenset({"series", "frame", "stack", "suv"})

FORMATS: tuple[Format, ...] = (
    Format("nifti", (".nii.gz", ".nii"), "nifti", _ANY, layers=True, choices=_FRAME),
    Format("nifti pair", (".hdr.gz", ".img.gz", ".hdr", ".img"), "nifti", choices=_FRAME),
    Format("nrrd", (".nrrd",), "nrrd", _ANY, layers=True, choices=_FRAME),
    Format("nhdr", (".nhdr",), "nrrd", choices=_FRAME),
    Format("metaimage", (".mha",), "metaimage", _ANY, layers=True, choices=_FRAME),
    Format("mhd", (".mhd",), "metaimage", choices=_FRAME),
    Format("freesurfer", (".mgz", ".mgh"), "freesurfer", _ANY, layers=True, choices=_FRAME),
    Format("afni", (".brik.gz", ".brik", ".head"), "afni", choices=_FRAME),
    Format("npz", (".npz",), "npz", _ANY, layers=True),
    Format("tiff", (".tif", ".tiff"), "picture", _PICTURE, layers=True, choices=_FRAME | _SLIDE),
    Format("slide", (".svs", ".ndpi"), "slide", choices=_SLIDE),
    Format("png", (".png",), "picture", _PICTURE, choices=_FRAME),
    Format("picture", (".jpeg", ".jpg", ".bmp", ".webp"), "picture", choices=_FRAME),
    Format("rtstruct", (".rtstruct.dcm", ".rtss.dcm"), "dicom", _VOLUME, True, writer="rtstruct"),
    Format("dicom", (".dcm",), "dicom", _ANY, True, _DICOM, "dicom_seg"),
    Format("dicom files", (".dcm.gz", ".dicom", ".ima"), "dicom", choices=_DICOM),
    Format("dicomweb", (), "dicomweb", choices=_DICOM),
)


def read(
    path: str | Path,
    options: ReadOptions | None = None,
    *,
    modality: str | None = None,
    **choices: Any,
) -> Image:
    """Read a picture, a volume, a video or a folder with one DICOM series.

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

    Pictures give the numbers they store, not the colours they are shown in; values a rounding away from
    whole ones are rounded, with a note.

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
    image.source.notes[:] = [n.removesuffix("; --frame picks one") for n in image.source.notes]
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
        if labels and "--frame" in error.do:  # an option of images
            do = "save the one that is meant as a file of its own"
            raise InputError(error.expected, error.got, do) from None
        raise
    except MemoryError:
        raise InputError("an image that fits into memory", str(path), "crop it first") from None
    except Exception as error:  # third-party readers raise anything on broken files
        raise InputError(
            f"a readable {chosen.name} image",
            f"{path} ({_first_line(error)})",
            "check that the file is complete and of the type its name says",
        ) from error
    return image


def writer_of(
    segmentation: Segmentation, path: Path, overlap: str = "keep"
) -> Callable[[Path], None]:
    """What writes masks in the format that the suffix of `path` names, to any path.

    Raises:
        OutputError: unknown or unsuitable format, or objects that overlap in one without layers.
    """
    if overlap not in ("keep", "later-wins"):
        raise OutputError("overlap to be keep or later-wins", repr(overlap))
    chosen = format_for_output(path, segmentation)
    later_wins = overlap == "later-wins"
    layers = not later_wins and bool(segmentation.overlaps())
    if layers and not chosen.layers:
        segmentation.labels()  # raises, naming the objects that overlap
    write: Callable[[Segmentation, Path, bool], None] = chosen.load_writer().write
    return lambda temporary: write(segmentation, temporary, layers)


def format_for_output(path: Path, segmentation: Segmentation | Image) -> Format:
    """The format that `path` names, if it can hold masks of this kind."""
    kind = "picture" if segmentation.geometry.ndim == 2 else "volume"
    chosen = format_by_suffix(path)
    able = ", ".join(f.suffixes[0] for f in FORMATS if kind in f.writes)
    if chosen is None or kind not in chosen.writes:
        reason = "no known mask format" if chosen is None else f"{chosen.name} cannot hold it"
        raise OutputError(
            f"an output file for a {kind} mask ({able})", f"{path.name!r} ({reason})", "rename it"
        )
    if chosen.writer:
        chosen.load_writer().check(segmentation)
    return chosen


def format_by_suffix(path: Path) -> Format | None:
    """The format that the ending of a file name stands for; None if it is not known."""
    name = path.name.lower()
    return next((f for f in FORMATS for s in f.suffixes if name.endswith(s)), None)


def _format_of(path: Path) -> Format:
    by_name = {f.name: f for f in FORMATS}
    if address_in(path):
        return by_name["dicomweb"]
    if os.path.isdir(path):  # never raises, unlike Path.is_dir
        return by_name["dicom"]
    require_file(path, "an image file or a DICOM folder")
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[128:132] == b"DICM":  # whatever its name: .img is a common one
        return by_name["dicom"]
    chosen = format_by_suffix(path)
    if chosen is not None:
        return chosen
    if head[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError, zlib.error), gzip.open(path) as stream:
            head = stream.read(348)
        if head[344:347] not in (b"n+1", b"ni1") and head[4:7] != b"n+2":
            head = b""
    if head[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return by_name["nifti"]
    if head[:4] == b"NRRD":
        return by_name["nrrd"]
    known = ", ".join(s for f in FORMATS for s in f.suffixes)
    raise InputError("an image file", f"{path}: not recognised", f"known endings: {known}")


def is_dicom_file(path: Path) -> bool:
    """Whether a file starts like a DICOM file."""
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
