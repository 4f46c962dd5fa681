"""The pictures of docs/start.md: a phantom made here, so that no patient's image stands in the docs.

usage: python benchmarks/docs_pictures.py FOLDER

Writes phantom.nii.gz, preview.png, and liver.nii.gz with its overlay.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from promptseg.cli.main import main

_SHAPE, _SPACING = (12, 176, 208), (5.0, 2.0, 2.0)  # z, y, x; mm
_BOX = "44,50,99,112@6=liver"

# centre and half axes of ellipsoids in voxels (z, y, x), and HU
_PARTS = (
    ((6, 88, 104), (60, 62, 86), -90.0),  # fat
    ((6, 88, 104), (60, 56, 79), 45.0),  # muscle
    ((6, 84, 104), (60, 46, 70), -60.0),  # fat inside
    ((6, 81, 71), (5.4, 31, 27), 110.0),  # liver
    ((6, 92, 150), (3.8, 20, 13), 120.0),  # spleen
    ((6, 128, 104), (60, 14, 15), 260.0),  # spine
    ((6, 110, 112), (60, 7, 7), 170.0),  # aorta
    ((6, 74, 72), (1.2, 4, 4), 45.0),  # a lesion in the liver
)


def phantom() -> NDArray[np.int16]:
    """A made abdomen in HU, (z, y, x): ellipsoids with soft edges and noise."""
    rng = np.random.default_rng(0)
    grid = np.indices(_SHAPE).astype(np.float64)
    values = np.full(_SHAPE, -1000.0)
    for centre, axes, hu in _PARTS:
        place = [(g - c) / a for g, c, a in zip(grid, centre, axes, strict=True)]
        inside = np.sqrt(sum(p * p for p in place)) < 1
        values[inside] = hu
    return (values + rng.normal(0, 12, _SHAPE)).clip(-1000, 1000).astype(np.int16)


def make(folder: Path) -> int:
    """Write the phantom, its preview and the overlay of a mask that lite-medsam makes."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = folder / "phantom.nii.gz"
    image = SimpleITK.GetImageFromArray(phantom())
    image.SetSpacing(_SPACING[::-1])
    SimpleITK.WriteImage(image, str(scan))
    ct = ["--window", "soft-tissue"]
    shown = ["--slice", "6", "--preview", str(folder / "preview.png"), "--overwrite"]
    code = main(["info", str(scan), *shown, *ct, "--box", _BOX])
    made = ["-o", str(folder / "liver.nii.gz")]
    asked = ["--box", _BOX, "--modality", "CT", "--engine", "eager", "--overwrite", *ct]
    return code or main(["segment", "-i", str(scan), *made, *asked])


if __name__ == "__main__":
    sys.exit(make(Path(sys.argv[1])))
