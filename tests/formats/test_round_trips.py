"""Masks on random grids, written in every format and read back by a second library: same place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PilImage

from formats.helpers import (
    Grid,
    read_metaimage,
    read_mgz,
    read_nifti_bytes,
    read_nrrd,
    rotation,
    segmentation_of,
    world_positions,
    write_mgz,
    write_nifti,
    write_nrrd,
    write_sitk,
)
from promptseg import read
from promptseg.geometry import Geometry
from promptseg.image import Image


def read_npz(path: Path) -> Grid:
    with np.load(path) as saved:
        matrix = saved["direction"].reshape(3, 3) * saved["spacing"]
        return Grid(saved["segs"], matrix, saved["origin"])


READERS: dict[str, Callable[[Path], Grid]] = {
    "nii": read_nifti_bytes,
    "nii.gz": read_nifti_bytes,
    "nrrd": read_nrrd,
    "mha": read_metaimage,
    "mgz": read_mgz,
    "mgh": read_mgz,
    "npz": read_npz,
}
WRITERS: dict[str, Callable[..., Path]] = {
    "nii.gz": write_nifti,
    "nrrd": write_nrrd,
    "mha": write_sitk,
    "mgz": write_mgz,
}

_angle = st.floats(-3.1, 3.1)
_size = st.floats(0.05, 20)
_shear = st.floats(-0.4, 0.4)
_place = st.floats(-600, 600)


@st.composite
def matrices(draw: st.DrawFn) -> NDArray[np.float64]:
    """Random spacing, direction (oblique, left-handed, axes exchanged), with or without shear."""
    directions = rotation(draw(_angle), draw(_angle), draw(_angle))
    if draw(st.booleans()):  # straight, in any order of the axes
        directions = np.eye(3)[list(draw(st.permutations(range(3))))]
    signs = [draw(st.sampled_from([1.0, -1.0])) for _ in range(3)]
    shear = np.eye(3)
    if draw(st.booleans()):
        shear[0, 1], shear[0, 2], shear[1, 2] = draw(_shear), draw(_shear), draw(_shear)
    spacing = np.array([draw(_size) for _ in range(3)])
    columns = directions @ shear @ np.diag(signs)
    return columns / np.linalg.norm(columns, axis=0) * spacing


origins = st.tuples(_place, _place, _place)
masks = st.integers(0, 2**31).map(lambda s: np.random.default_rng(s).random((4, 5, 6)) > 0.6)


def assert_placed(found: Grid, expected: Grid) -> None:
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    shape = expected.voxels.shape
    places = [world_positions(shape, grid.matrix, grid.origin) for grid in (found, expected)]
    np.testing.assert_allclose(*places, rtol=0, atol=1e-3)


@pytest.mark.parametrize("ending", READERS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(matrix=matrices(), origin=origins, mask=masks)
def test_a_mask_comes_back_to_its_place(
    ending: str, matrix: NDArray[np.float64], origin: tuple[float, ...], mask: NDArray[np.bool_]
) -> None:
    voxels = np.arange(mask.size, dtype=np.int16).reshape(mask.shape)
    image = Image(voxels, Geometry(mask.shape, matrix, np.array(origin)))
    with tempfile.TemporaryDirectory() as folder:
        out = segmentation_of(image, {"thing": mask}).save(Path(folder) / f"mask.{ending}")
        assert_placed(READERS[ending](out), Grid(mask, matrix, np.array(origin)))
        if ending != "npz":  # which holds a mask only, no image
            ours = read(out)
            assert ours.geometry.agrees_with(image.geometry)
            np.testing.assert_array_equal(ours.voxels, mask)


@pytest.mark.parametrize("source", WRITERS)
@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha", "mgz", "npz"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(matrix=matrices(), origin=origins, mask=masks)
def test_a_mask_keeps_the_place_of_its_image(
    source: str,
    ending: str,
    matrix: NDArray[np.float64],
    origin: tuple[float, ...],
    mask: NDArray[np.bool_],
) -> None:
    voxels = np.arange(mask.size, dtype=np.int16).reshape(mask.shape)
    with tempfile.TemporaryDirectory() as folder:
        path = WRITERS[source](Path(folder) / f"scan.{source}", matrix, origin, voxels)
        out = segmentation_of(read(path), {"thing": mask}).save(Path(folder) / f"mask.{ending}")
        assert_placed(READERS[ending](out), Grid(mask, matrix, np.array(origin)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 40), width=st.integers(1, 40))
def test_label_pictures_come_back(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    image = Image.from_array(rng.integers(0, 255, (height, width)).astype(np.uint8))
    kinds = rng.integers(0, 4, (height, width))
    result = segmentation_of(image, {f"thing {k}": kinds == k for k in (1, 2, 3)})
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("tif", "png"):
            with PilImage.open(result.save(Path(folder) / f"mask.{ending}")) as saved:
                np.testing.assert_array_equal(np.array(saved), kinds)
