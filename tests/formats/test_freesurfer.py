"""FreeSurfer volumes: places of voxels, header fields kept, frames."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from formats.helpers import (
    GRIDS,
    ORIGIN,
    RAS,
    SHAPE,
    Grid,
    assert_image_places,
    assert_same_places,
    corner_mask,
    random_voxels,
    read_mgz,
    segmentation_of,
    two_overlapping,
    write_mgz,
    write_nifti,
)
from promptseg import read
from promptseg.errors import InputError

FIELDS = ("goodRASFlag", "delta", "Mdc", "Pxyz_c")


@pytest.mark.parametrize("suffix", ["mgz", "mgh"])
@pytest.mark.parametrize("grid", GRIDS)
def test_places_and_voxels(tmp_path: Path, grid: str, suffix: str) -> None:
    path = write_mgz(tmp_path / f"scan.{suffix}", GRIDS[grid])
    image = read(path)
    np.testing.assert_array_equal(image.voxels, random_voxels())
    assert image.voxels.dtype == np.int16
    assert image.source.format == "freesurfer"
    assert image.source.notes == []
    assert_image_places(image, Grid(random_voxels(), GRIDS[grid], ORIGIN))
    assert_image_places(image, read_mgz(path))
    affine = nib.load(path).affine
    assert_image_places(
        image, Grid(image.voxels, affine[:3, :3] * RAS[:, None], affine[:3, 3] * RAS)
    )


@pytest.mark.parametrize("source", ["mgz", "nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_masks_keep_their_place(tmp_path: Path, grid: str, source: str) -> None:
    path = tmp_path / f"scan.{source}"
    (write_mgz if source == "mgz" else write_nifti)(path, GRIDS[grid])
    out = segmentation_of(read(path)).save(tmp_path / "mask.mgz")
    found = read_mgz(out)
    np.testing.assert_array_equal(found.voxels, corner_mask())
    assert_same_places(found, Grid(corner_mask(), GRIDS[grid], ORIGIN))
    if source == "mgz":
        before, after = nib.load(path).header, nib.load(out).header
        for field in FIELDS:
            np.testing.assert_array_equal(after[field], before[field], err_msg=field)


def test_frames(tmp_path: Path) -> None:
    voxels = random_voxels((2, *SHAPE), np.float32)
    path = write_mgz(tmp_path / "four.mgz", GRIDS["sheared"], voxels=voxels)
    with pytest.raises(InputError, match=r"2 frames; choose one with --frame \(0 to 1\)"):
        read(path)
    image = read(path, frame=1)
    np.testing.assert_array_equal(image.voxels, voxels[1])
    assert_image_places(image, Grid(voxels[1], GRIDS["sheared"], ORIGIN))


def test_without_the_good_ras_flag_sides_are_the_default(tmp_path: Path) -> None:
    path = write_mgz(tmp_path / "scan.mgh", GRIDS["oblique"])
    raw = bytearray(path.read_bytes())
    raw[28:30] = b"\0\0"
    path.write_bytes(raw)
    image = read(path)
    assert image.geometry.orientation == "LIA"
    np.testing.assert_allclose(image.geometry.spacing, 1)
    assert any("no orientation" in note for note in image.source.notes)


@pytest.mark.parametrize(
    ("label", "dtype"), [(255, np.uint8), (256, np.int16), (32767, np.int16), (40000, np.int32)]
)
def test_labels_of_any_size(tmp_path: Path, label: int, dtype: type) -> None:
    result = segmentation_of(read(write_mgz(tmp_path / "scan.mgz", GRIDS["plain"])))
    result.segments[0].label = label
    found = read_mgz(result.save(tmp_path / "mask.mgz"))
    assert found.voxels.dtype == np.dtype(dtype).newbyteorder(">")
    np.testing.assert_array_equal(found.voxels, corner_mask() * label)


def test_overlapping_objects_are_one_frame_each(tmp_path: Path) -> None:
    path = write_mgz(tmp_path / "scan.mgz", GRIDS["oblique left-handed"])
    masks = two_overlapping()
    found = read_mgz(segmentation_of(read(path), masks).save(tmp_path / "mask.mgz"))
    np.testing.assert_array_equal(found.voxels, np.stack(list(masks.values()), axis=-1))
    assert_same_places(Grid(corner_mask(), *found[1:]), read_mgz(path))


@pytest.mark.parametrize("suffix", ["mgz", "mgh"])
@pytest.mark.parametrize("share", [0.02, 0.2, 0.9])
def test_cut_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
    path = write_mgz(tmp_path / f"scan.{suffix}", GRIDS["plain"], voxels=noise)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(InputError, match=r"^expected "):
        read(path)


@pytest.mark.parametrize("size", [0, -3, 10**4, 2**31 - 1])
def test_a_header_that_promises_too_much_is_refused(tmp_path: Path, size: int) -> None:
    path = write_mgz(tmp_path / "scan.mgh", GRIDS["plain"])
    raw = bytearray(path.read_bytes())
    raw[4:16] = np.full(3, size, ">i4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"^expected "):
        read(path)
