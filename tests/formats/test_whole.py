"""Values a rounding away from whole numbers, in every reader of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile

from promptseg.datasets import open_datasets
from promptseg.errors import InputError
from promptseg.formats import read_labels
from promptseg.formats.masks import read_masks
from promptseg.formats.whole import whole_labels

LABELS = np.zeros((3, 5, 6), np.uint8)
LABELS[1, 1:3, 1:4], LABELS[2, 3, 2:5] = 1, 12


def nifti(path: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values.astype(np.float64).T, np.eye(4)), path)
    return path


def itk(path: Path, values: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    return path


def npz(path: Path, values: np.ndarray) -> Path:
    np.savez(path, segs=values, names=np.array(["a"]))
    return path


def tiff(path: Path, values: np.ndarray) -> Path:
    pixels = values.astype(np.float32)
    tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"}, photometric="minisblack")
    return path


WRITERS = {"a.nii.gz": nifti, "a.mha": itk, "a.nrrd": itk, "a.npz": npz, "a.tif": tiff}


@pytest.mark.parametrize("name", WRITERS)
def test_every_reader_rounds_with_a_note_or_refuses_with_value_and_place(
    tmp_path: Path, name: str
) -> None:
    values = LABELS.astype(np.float64)
    values[1, 2, 3] = 0.99995
    masks = read_masks(WRITERS[name](tmp_path / name, values))
    np.testing.assert_array_equal(masks.labels(), LABELS)
    assert any("5e-05 beside whole numbers" in note for note in masks.source.notes)
    values[1, 2, 3] = 0.988
    with pytest.raises(InputError, match=r"0\.988 at 3, 2, 1.*; round them"):
        read_masks(WRITERS[name](tmp_path / name, values))


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.int32])
def test_the_scale_of_nifti_is_told(tmp_path: Path, kind: type) -> None:
    """nibabel saves a float array into an integer file with a slope."""
    image = nib.Nifti1Image(LABELS.astype(np.float64).T, np.eye(4))
    image.header.set_data_dtype(kind)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj).T
    off = np.abs(stored - np.rint(stored)).max()
    if off < 1e-3:
        labels = read_labels(tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(labels.voxels, LABELS)
        assert any("slope" in note for note in labels.source.notes) is bool(off > 1e-6)
    else:
        with pytest.raises(InputError, match="stored with a slope of"):
            read_labels(tmp_path / "a.nii.gz")


def test_the_truth_of_a_challenge_file_may_be_float(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, LABELS.shape).astype(np.uint8)
    np.savez(tmp_path / "CT_1.npz", imgs=image, gts=LABELS.astype(np.float32), spacing=[1, 1, 1])
    image_read, truth = open_datasets(tmp_path)[0].cases[0].load()
    assert [s.label for s in truth.segments] == [1, 12]
    np.testing.assert_array_equal(image_read.voxels, image)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "nan at 1, 0.*replace it"),
        (np.inf, "inf at 1, 0.*number"),
        (-1.0, "-1 at 1, 0.*number the labels anew"),
        (70_000.0, "7e\\+04|70000.* at 1, 0"),
        (0.5, "0.5 at 1, 0.*threshold"),
        (1.0012, "1.001 at 1, 0"),
    ],
)
def test_what_is_no_label_is_told_with_its_place(value: float, words: str) -> None:
    values = np.zeros((2, 3))
    values[0, 1] = value
    with pytest.raises(InputError, match=words):
        whole_labels(values, Path("a"), [])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint32, np.int64, np.float16])
def test_whole_numbers_of_any_type_pass_without_a_note(dtype: Any) -> None:
    notes: list[str] = []
    labels = whole_labels(np.array([[0, 1], [1, 0]]).astype(dtype), Path("a"), notes)
    np.testing.assert_array_equal(labels, [[0, 1], [1, 0]])
    assert labels.dtype.kind == "u"
    assert notes == []
