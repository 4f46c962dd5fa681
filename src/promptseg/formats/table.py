"""The formats there are: one line each, from which help and error texts are made too.

To add a family, write a module with `read(path, options) -> Image` and, if it can hold masks,
`write(segmentation, path, layers) -> None`, and give it a line in `FORMATS`. Modules are imported
only when a file needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["FORMATS", "Format", "endings", "format_by_suffix", "format_named"]


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
        prompts: whether its files may carry prompts.
        masks: usual ending of the mask of an image, where the format itself holds none.
        folder: whether it is a folder, told by its ending or by what is in it.
        outlines: whether its files hold outlines of objects in another file's pixels, and no image.
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
    prompts: bool = False
    masks: str = ".nii.gz"
    outlines: bool = False
    folder: bool = False

    def load(self) -> Any:
        """Load the module that reads the format."""
        return import_module(f"promptseg.formats.{self.module}")

    def load_writer(self) -> Any:
        """Load the module that writes the format."""
        return import_module(f"promptseg.formats.{self.writer or self.module}")


_ANY = frozenset({"picture", "volume"})
_IMAGE_2D = frozenset({"picture"})
_VOLUME = frozenset({"volume"})
_FRAME = frozenset({"frame"})
_LEVEL = frozenset({"frame", "level"})
_SLIDE = frozenset({"region", "microns"})
_VIDEO = frozenset({"frame", "frames"})
_DICOM = frozenset({"series", "frame", "stack", "suv", "region", "microns"})

FORMATS: tuple[Format, ...] = (
    Format("nifti", (".nii.gz", ".nii"), "nifti", _ANY, layers=True, choices=_FRAME),
    Format("nifti pair", (".hdr.gz", ".img.gz", ".hdr", ".img"), "nifti", choices=_FRAME),
    Format("nrrd", (".nrrd",), "nrrd", _ANY, layers=True, choices=_FRAME),
    Format("nhdr", (".nhdr",), "nrrd", choices=_FRAME),
    Format("metaimage", (".mha",), "metaimage", _ANY, layers=True, choices=_FRAME),
    Format("mhd", (".mhd",), "metaimage", choices=_FRAME),
    Format("freesurfer", (".mgz", ".mgh"), "freesurfer", _ANY, layers=True, choices=_FRAME),
    Format("afni", (".brik.gz", ".brik", ".head"), "afni", choices=_FRAME),
    Format("npz", (".npz",), "npz", _ANY, layers=True, prompts=True),
    Format("tiff", (".tif", ".tiff"), "image_2d", _IMAGE_2D, layers=True, choices=_FRAME | _SLIDE),
    Format("slide", (".svs", ".ndpi"), "slide", choices=_SLIDE),
    Format("png", (".png",), "image_2d", _IMAGE_2D, choices=_FRAME),
    Format("picture", (".jpeg", ".jpg", ".bmp", ".webp"), "image_2d", choices=_FRAME, masks=".png"),
    Format("ome-zarr", (".ome.zarr", ".zarr"), "ome_zarr", _ANY, choices=_LEVEL, folder=True),
    Format("geojson", (".geojson",), "geojson", _IMAGE_2D, layers=True, outlines=True),
    Format("coco", (".coco.json",), "coco", _IMAGE_2D, layers=True, outlines=True),
    Format("rtstruct", (".rtstruct.dcm", ".rtss.dcm"), "dicom", _VOLUME, True, writer="rtstruct"),
    Format(
        "dicom",
        (".dcm",),
        module="dicom",
        writes=_ANY,
        layers=True,
        choices=_DICOM,
        writer="dicom_seg",
    ),
    Format("dicom files", (".dcm.gz", ".dicom", ".ima"), "dicom", choices=_DICOM),
    Format("video", (".webm", ".mp4", ".m4v", ".avi", ".mov", ".mkv"), "video", choices=_VIDEO),
    Format("gif", (".gif",), "video", choices=_VIDEO),
    Format("frames", (), "video", choices=_VIDEO),
    Format("dicomweb", (), "dicomweb", choices=_DICOM),
    Format("storage", (), "storage", choices=_DICOM | _VIDEO),
)


def endings(kind: str | None = None, layers: bool = False) -> list[str]:
    """Return the usual ending of every format that can hold masks.

    Args:
        kind: masks of a "picture" or of a "volume"; of any if not given.
        layers: only formats that hold overlapping objects.
    """
    return [
        f.suffixes[0]
        for f in FORMATS
        if (kind in f.writes if kind else f.writes) and (f.layers or not layers)
    ]


def format_by_suffix(path: Path) -> Format | None:
    """Return the format that the ending of a file name stands for; None if it is not known."""
    name = path.name.lower()
    return next((f for f in FORMATS for s in f.suffixes if name.endswith(s)), None)


def format_named(name: str) -> Format:
    """Return the format of this short name, as `Source.format` has it.

    Raises:
        KeyError: there is none.
    """
    return {f.name: f for f in FORMATS}[name]
