"""Images whose right answer is known: balls in volumes that lie differently, and a 2D image."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from fakes import ball

TURN = Rotation.from_euler("xyz", (20, 15, 30), degrees=True).as_matrix()
RAS = {
    "oblique": TURN @ np.diag([-1.2, -1.2, 2.0]),
    "anisotropic": np.diag([-0.8, 0.8, 4.0]),
    "sagittal": np.array([[0, 0, 3.0], [-1.0, 0, 0], [0, -1.0, 0]]),  # slices from left to right
    "upside-down": np.diag([1.0, -1.0, -2.5]),
}
"""Axes of volumes (x, y, z in columns) in RAS millimetres, by name."""

SHAPE = (18, 40, 52)
CENTRE = (9, 20, 18)


def body() -> NDArray[np.int16]:
    """(z, y, x): an egg of 200 in a field that says where one is."""
    z, y, x = np.indices(SHAPE)
    egg = ((z - 9) / 6) ** 2 + ((y - 20) / 11) ** 2 + ((x - 18) / 13) ** 2 <= 1
    return np.where(egg, 200, x + y // 4).astype(np.int16)


def marked(axes: NDArray[np.float64]) -> NDArray[np.int16]:
    """(z, y, x): one ball, as far to the left, anterior and superior as it goes."""
    shape = (30, 36, 40)
    along = np.abs(axes).argmax(0)  # the patient's axis that x, y and z run along
    towards = np.sign(axes[along, range(3)]) * np.where(along == 0, -1, 1)  # left is -R
    centre = tuple(n * (0.5 + s / 4) for n, s in zip(shape, towards[::-1], strict=True))
    return np.where(ball(shape, centre, 4), 1000, 0).astype(np.int16)  # type: ignore[arg-type]


def write(path: Path, array: NDArray[np.int16], axes: NDArray[np.float64]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = (12, -30, 45)
    nib.save(nib.Nifti1Image(array.T, affine), path)


def write_all(root: Path) -> None:
    """The folder of the tests."""
    two = ball((20, 40, 48), (10, 20, 12), 6) | ball((20, 40, 48), (10, 20, 36), 6)
    write(root / "scan.nii.gz", np.where(two, 200, 0).astype(np.int16), np.diag([-1.0, -1.0, 2.0]))
    for name in ("oblique", "anisotropic"):
        write(root / f"{name}.nii.gz", body(), RAS[name])
    for name, axes in RAS.items():
        write(root / f"sides-{name}.nii.gz", marked(axes), axes)
    picture = np.full((60, 90, 3), (30, 40, 50), np.uint8)
    picture[20:40, 30:60] = 220
    Image.fromarray(picture).save(root / "picture.png")
