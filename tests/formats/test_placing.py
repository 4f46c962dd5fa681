"""Masks brought onto the grid of their image, by one rule."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image as PilImage

from promptseg.errors import GeometryError
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.formats.options import MaskOptions
from promptseg.formats.placing import labels_on, masks_on
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation, Source

SHAPE = (6, 8, 10)
GRID = Geometry.from_spacing(SHAPE, (0.7, 0.9, 3.0), (-30, -40, 100))
NEAREST = MaskOptions(resample="nearest")


def image(grid: Geometry = GRID) -> Image:
    voxels = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    return Image(voxels, grid, source=Source(Path("ct.nii.gz")))


def labels() -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    out[1:4, 2:6, 3:7], out[4:6, 1:3, 7:9] = 1, 2
    return out


def saved(path: Path, array: np.ndarray, grid: Geometry) -> Path:
    itk = sitk.GetImageFromArray(array)
    itk.SetSpacing(grid.spacing.tolist())
    itk.SetOrigin(grid.origin.tolist())
    itk.SetDirection(grid.direction.ravel().tolist())
    sitk.WriteImage(itk, str(path))
    return path


@pytest.mark.parametrize("name", ["m.nii.gz", "m.mha", "m.nrrd"])
def test_a_part_in_another_order_is_put_in_place(tmp_path: Path, name: str) -> None:
    """Turned and cut by SimpleITK, which keeps the place of every voxel."""
    whole = saved(tmp_path / "whole.mha", labels(), GRID)
    turned = sitk.DICOMOrient(sitk.ReadImage(str(whole)), "RSP")
    cut = turned[1:9, 0:6, 1:7]
    sitk.WriteImage(cut, str(tmp_path / name))
    on = image()
    found = read_masks(tmp_path / name, on)
    np.testing.assert_array_equal(found.labels(), labels())
    (note,) = [n for n in on.source.notes if "none computed" in n]
    assert "axes" in note
    assert f"of {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]} voxels" in note


def test_labels_outside_are_never_lost_without_a_word(tmp_path: Path) -> None:
    beside = Geometry.from_spacing(SHAPE, GRID.spacing, GRID.to_world([4, 0, 0]))
    path = saved(tmp_path / "m.mha", labels(), beside)
    with pytest.raises(GeometryError, match=r"labels inside ct.*voxels outside"):
        read_masks(path, image())


def test_nearest_neighbours_are_those_of_simpleitk(tmp_path: Path) -> None:
    turned = np.array([[0.9, 0.1, 0], [-0.1, 0.9, 0.1], [0, 0.1, 1.4]])
    other = Geometry((9, 11, 13), turned, GRID.origin - np.array([2.0, 1.5, 1.0]))
    values = np.random.default_rng(0).integers(0, 4, other.shape).astype(np.uint8)
    path = saved(tmp_path / "m.mha", values, other)
    sheared = not other.is_orthogonal  # an ITK direction holds it as it is
    assert sheared
    on = image()
    with pytest.raises(GeometryError, match="--resample nearest"):
        read_masks(path, on)
    found = read_masks(path, on, NEAREST)
    reference = sitk.ReadImage(str(saved(tmp_path / "ct.mha", np.zeros(SHAPE, np.uint8), GRID)))
    expected = sitk.GetArrayFromImage(
        sitk.Resample(
            sitk.ReadImage(str(path)), reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0
        )
    )
    np.testing.assert_array_equal(found.labels(), expected)
    assert any("nearest neighbours" in note for note in on.source.notes)
    assert any("outside ct.nii.gz were left out" in note for note in on.source.notes)


def test_an_object_that_vanishes_is_said() -> None:
    fine = Geometry.from_spacing((60, 80, 100), GRID.spacing / 10, GRID.origin)
    mask = np.zeros(fine.shape, bool)
    mask[3, 3, 3] = True
    masks = Segmentation([Segment.from_mask("speck", 1, mask)], fine)
    on = image()
    found = masks_on(masks, on, "nearest")
    assert found.segments[0].is_empty
    assert any("'speck': none of its 1 voxels" in note for note in on.source.notes)


@pytest.mark.parametrize("shape", [(8, 10), (1, 8, 10)])
@pytest.mark.parametrize("mask_shape", [(8, 10), (1, 8, 10)])
def test_what_has_no_millimetres_fits_by_its_size(
    shape: tuple[int, ...], mask_shape: tuple[int, ...]
) -> None:
    mask = labels()[3].astype(bool).reshape(mask_shape)
    masks = Segmentation([Segment.from_mask("a", 1, mask)], Geometry.pixels(mask_shape))
    found = masks_on(masks, image(Geometry.pixels(shape)))
    np.testing.assert_array_equal(found.labels() > 0, mask.reshape(shape))
    alone = Image(mask.astype(np.uint8), Geometry.pixels(mask_shape))
    np.testing.assert_array_equal(
        labels_on(alone, image(Geometry.pixels(shape)), Path("m.png")) > 0, mask.reshape(shape)
    )
    wrong = Segmentation([], Geometry.pixels((10, 8)))
    with pytest.raises(GeometryError, match=r"another shape.*exchange their axes"):
        masks_on(wrong, image(Geometry.pixels(shape)))


def test_a_turned_picture_says_that_its_mask_was_not(tmp_path: Path) -> None:
    picture = PilImage.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10))
    exif = PilImage.Exif()
    exif[0x0112] = 3
    picture.save(tmp_path / "a.png", exif=exif)
    PilImage.fromarray(labels()[3]).save(tmp_path / "m.png")
    on = read(tmp_path / "a.png")
    read_masks(tmp_path / "m.png", on)
    assert any("m.png has no EXIF orientation" in note for note in on.source.notes)


def test_a_damaged_nifti_extension_costs_the_extension_alone(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nifti = nib.Nifti1Image(voxels, np.diag([1, 2, 3, 1]))
    nifti.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello"))
    nib.save(nifti, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[352:356] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "a.nii").write_bytes(content)
    found = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(found.voxels, voxels.T)
    assert found.geometry.spacing.tolist() == [1, 2, 3]
    assert any("damaged extension" in note for note in found.source.notes)
