"""AFNI datasets: either file, sub-bricks, scaling, places of voxels."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path

from formats.helpers import GRIDS, ORIGIN, Grid, assert_image_places, random_voxels, segmentation_of
from promptseg import read
from promptseg.errors import InputError

NIBABEL = Path(data_path)


def write_afni(folder: Path, grid: str = "oblique left-handed", factor: float = 0.0) -> Path:
    """A dataset of one sub-brick, written line by line; AFNI's world is ours."""
    affine = np.column_stack([GRIDS[grid], ORIGIN])
    voxels = random_voxels()
    lines = []
    for kind, name, values in [
        ("integer", "DATASET_RANK", [3, 1]),
        ("integer", "DATASET_DIMENSIONS", voxels.shape[::-1]),
        ("float", "DELTA", np.linalg.norm(GRIDS[grid], axis=0)),
        ("float", "ORIGIN", ORIGIN),
        ("float", "IJK_TO_DICOM_REAL", affine.ravel()),
        ("integer", "BRICK_TYPES", [1]),
        ("float", "BRICK_FLOAT_FACS", [factor]),
    ]:
        text = " ".join(str(v) for v in values)
        lines.append(f"type = {kind}-attribute\nname = {name}\ncount = {len(values)}\n {text}\n")
    order = "type = string-attribute\nname = BYTEORDER_STRING\ncount = 10\n'LSB_FIRST~\n"
    (folder / "scan+orig.HEAD").write_text("\n" + "\n".join([*lines, order]))
    (folder / "scan+orig.BRIK").write_bytes(voxels.astype("<i2").tobytes())
    return folder / "scan+orig.HEAD"


@pytest.mark.parametrize("grid", GRIDS)
def test_places_and_voxels(tmp_path: Path, grid: str) -> None:
    path = write_afni(tmp_path, grid)
    for half in (path, path.with_suffix(".BRIK")):
        image = read(half)
        np.testing.assert_array_equal(image.voxels, random_voxels())
        assert_image_places(image, Grid(image.voxels, GRIDS[grid], ORIGIN))
    affine = nib.load(path).affine
    corner = np.diag([-1, -1, 1, 1]) @ affine @ [6, 5, 4, 1]
    np.testing.assert_allclose(image.geometry.to_world([6, 5, 4]), corner[:3], atol=1e-3)


def test_scaling_is_applied(tmp_path: Path) -> None:
    image = read(write_afni(tmp_path, factor=0.25))
    np.testing.assert_allclose(image.voxels, random_voxels() * 0.25)
    assert image.voxels.dtype == np.float32


def test_sub_bricks_are_frames() -> None:
    path = NIBABEL / "example4d+orig.HEAD"
    with pytest.raises(InputError, match=r"3 frames; choose one with --frame \(0 to 2\)"):
        read(path)
    other = nib.load(path)
    for half in (path, NIBABEL / "example4d+orig.BRIK.gz"):
        image = read(half, frame=2)
        np.testing.assert_array_equal(image.voxels, np.asarray(other.dataobj)[..., 2].T)


def test_the_other_half_must_be_there(tmp_path: Path) -> None:
    path = write_afni(tmp_path)
    path.with_suffix(".BRIK").unlink()
    with pytest.raises(InputError, match=r"its \.BRIK beside it.*no such file"):
        read(path)


@pytest.mark.parametrize("name", ["bad_attribute+orig.HEAD", "bad_datatype+orig.HEAD"])
def test_broken_headers_are_refused(tmp_path: Path, name: str) -> None:
    shutil.copy(NIBABEL / name, tmp_path)
    (tmp_path / name.replace("HEAD", "BRIK")).write_bytes(bytes(99))
    with pytest.raises(InputError, match=r"^expected a readable afni image"):
        read(tmp_path / name)


def test_a_mask_goes_to_the_same_place(tmp_path: Path) -> None:
    image = read(write_afni(tmp_path))
    out = segmentation_of(image).save(tmp_path / "mask.nii.gz")
    assert read(out).geometry.agrees_with(image.geometry)
