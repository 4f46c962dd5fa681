"""How large an image is, told by its head."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image as PilImage

from formats.helpers import ORTHOGONAL, write_dicom_series
from promptseg import read
from promptseg.formats.sizes import size_of


def test_every_kind_says_what_its_reader_would_allocate(tmp_path: Path) -> None:
    voxels = np.zeros((5, 20, 30), np.int16)
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), tmp_path / "a.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "a.mha"))
    PilImage.new("RGB", (30, 20)).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", imgs=voxels)
    for name in ("a.nii.gz", "a.mha", "a.npz"):
        found = size_of(tmp_path / name)
        assert found is not None
        assert found.voxels == voxels.size, name
        assert 2 <= found.itemsize <= 4, name
    write_dicom_series(tmp_path / "series", ORTHOGONAL["plain"])
    series, image = size_of(tmp_path / "series"), read(tmp_path / "series")
    assert series is not None
    assert series.nbytes == image.voxels.size * 2
    picture = size_of(tmp_path / "a.png")
    assert picture is not None
    assert picture.voxels == 3 * 600


def test_voxels_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((30, 20, 5), np.int16), np.eye(4)), path)
    with path.open("rb+") as stream:
        stream.truncate(400)
    found = size_of(path)
    assert found is not None
    assert found.nbytes == 6000


def test_what_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    for name in ("a.nii.gz", "none.nrrd", "empty", "what"):
        assert size_of(tmp_path / name) is None
