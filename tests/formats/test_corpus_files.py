"""Every file of the corpus that is not DICOM: read as an independent reader does, or refused once.

Independent of our path: NIfTI by arithmetic on its bytes and by SimpleITK, FreeSurfer, AFNI and
MetaImage by arithmetic on their bytes, NRRD by pynrrd.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from formats.helpers import (
    TOLERANCE_MM,
    Grid,
    corner_mask,
    grid_of_sitk,
    read_metaimage,
    read_mgz,
    read_nifti,
    read_nifti_bytes,
    read_nrrd,
    real_data,
    segmentation_of,
)
from promptseg import read
from promptseg.errors import InputError
from promptseg.image import Image

pytestmark = pytest.mark.data


def nifti(path: Path, frame: int) -> Grid:
    return read_nifti_bytes(path, frame)


def nrrd(path: Path, frame: int) -> Grid:
    return read_nrrd(path)


def mgz(path: Path, frame: int) -> Grid:
    found = read_mgz(path)
    return found if found.voxels.ndim == 3 else found._replace(voxels=found.voxels[..., frame])


def afni(path: Path, frame: int) -> Grid:
    """AFNI by reading its text; its world axes are ours."""
    base = path.name.split(".")[0]
    text = path.with_name(f"{base}.HEAD").read_text()

    def attribute(name: str) -> list[float]:
        found = re.search(rf"name\s*=\s*{name}\s*count\s*=\s*\d+\s*([^a-z]*)", text)
        assert found is not None
        return [float(word) for word in found[1].split()]

    x, y, z = (int(n) for n in attribute("DATASET_DIMENSIONS")[:3])
    affine = np.array(attribute("IJK_TO_DICOM_REAL")).reshape(3, 4)
    data = gzip.decompress(path.with_name(f"{base}.BRIK.gz").read_bytes())
    assert set(attribute("BRICK_TYPES")) == {1.0}
    voxels = np.frombuffer(data, "<i2").reshape(-1, z, y, x)[frame]
    return Grid(voxels, affine[:, :3], affine[:, 3])


def metaimage(path: Path, frame: int) -> Grid:
    return read_metaimage(path)


def assert_same_corners(image: Image, expected: Grid) -> None:
    """The corners, and so all voxels of a grid, are where the other reader puts them."""
    ends = [(0, n - 1) for n in image.geometry.shape[::-1]]
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)
    places = corners @ expected.matrix.T + expected.origin
    np.testing.assert_allclose(image.geometry.to_world(corners), places, rtol=0, atol=TOLERANCE_MM)


class Case(NamedTuple):
    """How a file is to be read.

    `frames` is how many it holds, `note` a word the notes must contain, `refused` the outcome for
    a file that is no image on its own.
    """

    reader: Callable[[Path, int], Grid] | None
    frames: int = 1
    note: str = ""
    refused: str = ""


CASES = {
    "nifti/CT_AVM.nii.gz": Case(nifti),
    "nifti/CT_pitch.nii.gz": Case(nifti),
    "nifti/anatomical.nii": Case(nifti),
    "nifti/example4d.nii.gz": Case(nifti, frames=2),
    "nifti/example_nifti2.nii.gz": Case(nifti, frames=2),
    "nifti/functional.nii": Case(nifti, frames=20),
    "nifti/niivue_complex.nii.gz": Case(nifti, note="magnitude"),
    "nifti/niivue_ct_perfusion.nii.gz": Case(nifti),
    "nifti/niivue_draw.nii.gz": Case(nifti),
    "nifti/niivue_pcasl.nii.gz": Case(nifti, frames=10),
    "nifti/niivue_shear.nii.gz": Case(nifti),
    "nifti/ras.hdr": Case(nifti),
    "nifti/ras.img": Case(lambda path, frame: nifti(path.with_suffix(".hdr"), frame)),
    "nifti/reoriented_anat_moved.nii": Case(nifti),
    "nrrd/dcmqi_heart_seg.nrrd": Case(nrrd),
    "nrrd/dcmqi_liver_seg.nrrd": Case(nrrd),
    "nrrd/dcmqi_partial_overlaps-1.nrrd": Case(nrrd),
    "nrrd/dcmqi_spine_seg.nrrd": Case(nrrd),
    "mhd_mha/HeadMRVolume.mhd": Case(metaimage),
    "mhd_mha/HeadMRVolume.raw": Case(None, refused="not recognised"),
    "mhd_mha/niivue_mha.mha": Case(metaimage),
    "other/example4d+orig.BRIK.gz": Case(afni, frames=3),
    "other/example4d+orig.HEAD": Case(afni, frames=3),
    "other/niivue_wm.mgz": Case(mgz),
    "other/test.mgz": Case(mgz, frames=2),
}


def corpus(name: str) -> Path:
    return real_data("formats", *name.split("/"))


def test_every_file_of_the_corpus_has_a_case() -> None:
    entries = json.loads(real_data("formats", "formats.json").read_text())
    names = {e["file"] for e in entries if not e["file"].startswith(("dicom", "("))}
    assert names == set(CASES)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.reader])
def test_voxels_and_places_are_those_of_an_independent_reader(name: str) -> None:
    path, case = corpus(name), CASES[name]
    assert case.reader is not None
    if case.frames > 1:
        with pytest.raises(InputError, match=f"{case.frames} frames; choose one with --frame"):
            read(path)
    for frame in {0, case.frames - 1}:
        image = read(path, frame=frame if case.frames > 1 else None)
        expected = case.reader(path, frame)
        if expected.voxels.dtype.kind == "c":
            expected = expected._replace(voxels=np.abs(expected.voxels))
        assert np.allclose(image.voxels, expected.voxels, rtol=1e-6)
        assert image.geometry.unit == "mm"
        assert_same_corners(image, expected)
        assert case.note in " ".join(image.source.notes)


SHEARED_OR_NEW = {"nifti/niivue_shear.nii.gz", "nifti/example_nifti2.nii.gz"}


@pytest.mark.parametrize(
    "name", [n for n in CASES if n.startswith("nifti") and n not in SHEARED_OR_NEW]
)
def test_nifti_files_are_where_simpleitk_puts_them(name: str) -> None:
    path, case = corpus(name), CASES[name]
    itk = sitk.ReadImage(str(path))
    if itk.GetDimension() == 4:
        itk = itk[..., case.frames - 1]
    image = read(path, frame=case.frames - 1)
    expected = grid_of_sitk(itk)
    voxels = np.abs(expected.voxels) if expected.voxels.dtype.kind == "c" else expected.voxels
    assert np.allclose(image.voxels, voxels, rtol=1e-5)
    assert_same_corners(image, expected)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.refused])
def test_files_that_are_no_image_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=CASES[name].refused):
        read(corpus(name))


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.reader])
def test_a_mask_lies_on_the_grid_of_its_file(tmp_path: Path, name: str) -> None:
    path, case = corpus(name), CASES[name]
    image = read(path, frame=0)
    ending = path.suffix if path.suffix in (".mgz", ".nrrd", ".mha") else ".nii.gz"
    out = segmentation_of(image).save(tmp_path / f"mask{ending}")
    readers: dict[str, Callable[[Path], Grid]] = {".mgz": read_mgz, ".nrrd": read_nrrd}
    found = readers.get(ending, read_nifti)(out) if ending != ".mha" else read_metaimage(out)
    np.testing.assert_array_equal(found.voxels, corner_mask(image.geometry.shape))
    assert case.reader is not None
    expected = case.reader(path, 0)
    assert_same_corners(image, found)
    assert_same_corners(image, expected)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.95])
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.reader])
def test_cut_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    path = corpus(name)
    base = re.split(r"\.(?=hdr|img|HEAD|BRIK|mhd)", path.name)[0]
    for beside in path.parent.glob(f"{base}.*"):
        (tmp_path / beside.name).write_bytes(beside.read_bytes())
    content = path.read_bytes()
    (tmp_path / path.name).write_bytes(content[: int(share * len(content))])
    if path.suffix == ".HEAD" and share > 0.9:
        pytest.skip("what is cut off is not needed to read it")
    with pytest.raises(InputError, match=r"^expected "):
        read(tmp_path / path.name, frame=0)


@pytest.mark.parametrize("patient", [101, 102, 103, 106, 107, 109])
@pytest.mark.parametrize("phase", ["ED", "ES"])
def test_acdc_has_its_true_spacing_and_a_warning(patient: int, phase: str) -> None:
    path = real_data("volume", "mr__acdc_cardiac", f"patient{patient}_{phase}_image.nii.gz")
    image, raw = read(path), read_nifti_bytes(path)
    sizes = np.frombuffer(gzip.decompress(path.read_bytes()), "<f4", 3, 80)
    np.testing.assert_allclose(image.geometry.spacing, sizes, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(raw.matrix, axis=0), 1)  # the trap
    np.testing.assert_allclose(image.geometry.direction, raw.matrix, atol=1e-6)
    assert any("contradicts itself" in note for note in image.source.notes)
    np.testing.assert_array_equal(image.voxels, raw.voxels)
