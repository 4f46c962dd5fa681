"""MetaImage (.mha, .mhd) through SimpleITK, which keeps every digit of its geometry."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from promptseg.formats.itk import masks_to_itk, read_itk
from promptseg.formats.options import ReadOptions
from promptseg.image import Image, Segmentation

__all__ = ["read", "write"]


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read a MetaImage file; see `read_itk`."""
    return read_itk(path, "metaimage", options)


def write(segmentation: Segmentation, path: Path, layers: bool) -> None:
    """Write labels or, with `layers`, one channel per object."""
    try:
        sitk.WriteImage(masks_to_itk(segmentation, layers), str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(0, str(error).splitlines()[-1].strip()) from error
