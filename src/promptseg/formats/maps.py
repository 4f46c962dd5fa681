"""Pictures and volumes of numbers from 0 to 255 beside a mask, such as how unsure a model is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.formats.files import beside
from promptseg.geometry import Geometry

__all__ = ["map_path", "write_map"]


def map_path(output: Path, what: str, planar: bool) -> Path:
    """Return the path of a map beside a mask: `mask.WHAT.nii.gz`, or in 2D `mask.WHAT.png`."""
    return beside(output, f".{what}.{'png' if planar else 'nii.gz'}")


def write_map(values: NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    """Write numbers on a grid: a 2D image as PNG, a volume as NIfTI.

    Args:
        values: (y, x) or (z, y, x).
        geometry: the grid.
        path: the file.
    """
    if values.ndim == 2:
        from PIL import Image as PilImage

        PilImage.fromarray(values).save(path, "PNG")
        return
    import nibabel as nib

    from promptseg.formats.nifti import set_geometry

    image = nib.Nifti1Image(values.T, None)
    set_geometry(image.header, geometry)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        import gzip

        content = gzip.compress(content, 6, mtime=0)
    path.write_bytes(content)
