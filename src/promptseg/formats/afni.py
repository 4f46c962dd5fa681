"""AFNI volumes (.HEAD with .BRIK or .BRIK.gz beside it) through nibabel.

AFNI's own coordinates grow towards Left, Posterior and Superior, as ours; nibabel turns them to RAS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.brikhead import AFNIImage

from promptseg.formats.files import require_file
from promptseg.formats.options import ReadOptions
from promptseg.formats.ras import lps_from_ras, opened, spatial_shape, voxels_of
from promptseg.geometry import Geometry
from promptseg.image import Image, Source

__all__ = ["read"]


def read(path: Path, options: ReadOptions | None = None) -> Image:
    """Read one sub-brick of an AFNI dataset; either of its two files may be named.

    Raises:
        InputError: the other file is missing, several sub-bricks and no choice, or a truncated file.
    """
    files = AFNIImage.filespec_to_file_map(str(path))
    for holder in files.values():
        require_file(Path(holder.filename), "a .HEAD file and its .BRIK beside it")
    source = Source(path, "afni")
    with opened(Path(files["image"].filename)) as data:
        afni: Any = AFNIImage.from_file_map({**files, "image": data}, mmap=False)
        voxels = voxels_of(afni, path, options or ReadOptions(), source.notes)
    affine = np.asarray(afni.affine, np.float64)
    matrix, origin = lps_from_ras(affine[:3, :3], affine[:3, 3])
    return Image(voxels, Geometry(spatial_shape(afni, path)[::-1], matrix, origin), source=source)
