"""DICOM series: placed by position alone, and everything odd about them is found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from formats.helpers import (
    GRIDS,
    ORIGIN,
    ORTHOGONAL,
    SHAPE,
    Grid,
    assert_image_places,
    assert_same_places,
    corner_mask,
    decimals,
    edit_dicom,
    grid_of_sitk,
    random_voxels,
    read_nifti,
    read_sitk,
    real_data,
    rotation,
    segmentation_of,
    write_dicom_series,
)
from promptseg import read
from promptseg.errors import GeometryError, InputError, PromptsegError

RIGHT_HANDED = {k: m for k, m in ORTHOGONAL.items() if np.linalg.det(m) > 0}
_TILT = np.diag([0.8, 0.9, 2.5])
_TILT[1, 2] = 2.5 * np.tan(np.radians(20))
TILTED = {"tilted": _TILT, "oblique tilted": rotation(0.3, -0.4, 0.2) @ _TILT}


def gdcm_grid(folder: Path) -> Grid:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return grid_of_sitk(reader.Execute())


@pytest.mark.parametrize("grid", RIGHT_HANDED)
def test_voxels_and_places_are_those_of_gdcm(tmp_path: Path, grid: str) -> None:
    write_dicom_series(tmp_path / "ct", ORTHOGONAL[grid])
    image, other = read(tmp_path / "ct"), gdcm_grid(tmp_path / "ct")
    np.testing.assert_array_equal(image.voxels, random_voxels().astype(int) - 1024)
    np.testing.assert_array_equal(image.voxels, other.voxels)
    assert_image_places(image, other)
    assert image.modality == "CT"
    assert image.source.format == "dicom"
    assert image.source.notes == []


@pytest.mark.parametrize("grid", TILTED)
def test_a_gantry_tilt_is_in_the_matrix(tmp_path: Path, grid: str) -> None:
    write_dicom_series(tmp_path / "ct", TILTED[grid])
    image = read(tmp_path / "ct")
    np.testing.assert_array_equal(image.voxels, random_voxels().astype(int) - 1024)
    assert_image_places(image, Grid(image.voxels, TILTED[grid], ORIGIN))
    assert not image.geometry.is_orthogonal


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    tilt=st.floats(-0.4, 0.4),
    mirrored=st.booleans(),
    signed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_grid_order_and_signedness(
    tmp_path_factory: pytest.TempPathFactory,
    angles: Any,
    spacing: Any,
    tilt: float,
    mirrored: bool,
    signed: bool,
    seed: int,
) -> None:
    matrix = rotation(*angles) @ np.array([[1, 0, 0], [0, 1, tilt], [0, 0, 1]]) @ np.diag(spacing)
    stored = random_voxels(dtype=np.int16 if signed else np.uint16)
    stored = stored - 60 if signed else stored
    down = matrix * [1, 1, -1] if mirrored else matrix
    folder = tmp_path_factory.mktemp("ct")
    write_dicom_series(folder, down, stored=stored, seed=seed)
    image = read(folder)
    expected = Grid(stored, matrix, ORIGIN)
    if mirrored:
        expected = Grid(stored[::-1], matrix, ORIGIN + (SHAPE[0] - 1) * down[:, 2])
    np.testing.assert_array_equal(image.voxels, expected.voxels.astype(int) - 1024)
    assert_image_places(image, expected)


def test_slices_written_downwards_are_the_same_voxels_at_the_same_places(tmp_path: Path) -> None:
    matrix = ORTHOGONAL["oblique left-handed"]
    assert np.linalg.det(matrix) < 0
    write_dicom_series(tmp_path / "ct", matrix)
    image = read(tmp_path / "ct")
    np.testing.assert_array_equal(image.voxels[::-1], random_voxels().astype(int) - 1024)
    down = matrix * [1, 1, -1]
    top = ORIGIN + (SHAPE[0] - 1) * matrix[:, 2]
    assert_image_places(image, Grid(image.voxels, down, top))


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("grid", ["oblique", "sagittal"])
def test_masks_fit_the_series_in_other_programs(tmp_path: Path, grid: str, suffix: str) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS[grid])
    out = segmentation_of(read(tmp_path / "ct")).save(tmp_path / f"mask.{suffix}")
    found = read_sitk(out)
    assert_same_places(found, gdcm_grid(tmp_path / "ct"))
    np.testing.assert_array_equal(found.voxels, corner_mask())


@pytest.mark.parametrize("grid", TILTED)
def test_masks_of_tilted_series_in_nifti(tmp_path: Path, grid: str) -> None:
    write_dicom_series(tmp_path / "ct", TILTED[grid])
    out = segmentation_of(read(tmp_path / "ct")).save(tmp_path / "mask.nii.gz")
    found = read_nifti(out)
    np.testing.assert_array_equal(found.voxels, corner_mask())
    assert_same_places(found, Grid(found.voxels, TILTED[grid], ORIGIN))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [
        (1.0, -1024.0, np.int16),
        (1.0, 0.0, np.int16),
        (1.0, 40000.0, np.float32),
        (2.5, -1000.0, np.float32),
        (0.001, 0.25, np.float32),
    ],
)
def test_rescaling(tmp_path: Path, slope: float, intercept: float, dtype: Any) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["plain"], slope=slope, intercept=intercept)
    image = read(tmp_path / "ct")
    assert image.voxels.dtype == dtype
    np.testing.assert_allclose(image.voxels, random_voxels() * slope + intercept, rtol=1e-6)


def test_unsigned_values_above_32767_are_kept(tmp_path: Path) -> None:
    stored = random_voxels().astype(np.uint16)
    stored[-1, 0, 0] = 65000
    write_dicom_series(tmp_path / "ct", GRIDS["plain"], stored=stored, intercept=-1024)
    np.testing.assert_array_equal(read(tmp_path / "ct").voxels, stored.astype(float) - 1024)


def test_each_slice_has_its_own_rescaling(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "pet", GRIDS["plain"], intercept=0, Modality="PT")
    for k, path in enumerate(paths):
        edit_dicom(path, RescaleSlope=decimals([1 + k / 4])[0])
    image = read(tmp_path / "pet")
    assert image.modality == "PET"
    factors = 1 + np.arange(SHAPE[0])[:, None, None] / 4
    np.testing.assert_allclose(image.voxels, random_voxels() * factors)


def test_monochrome1_is_inverted_and_noted(tmp_path: Path) -> None:
    write_dicom_series(
        tmp_path / "x", GRIDS["plain"], intercept=0, PhotometricInterpretation="MONOCHROME1"
    )
    image = read(tmp_path / "x")
    stored = random_voxels()
    np.testing.assert_array_equal(image.voxels, stored.max() + stored.min() - stored)
    assert any("MONOCHROME1" in note for note in image.source.notes)


@pytest.mark.parametrize(
    ("code", "modality"),
    [("MR", "MR"), ("PT", "PET"), ("US", "US"), ("DX", "XR"), ("MG", "MG"), ("OT", "unknown")],
)
def test_modalities(tmp_path: Path, code: str, modality: str) -> None:
    write_dicom_series(tmp_path / "s", GRIDS["plain"], Modality=code)
    assert read(tmp_path / "s").modality == modality


def test_the_users_modality_wins(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "s", GRIDS["plain"])
    assert read(tmp_path / "s", modality="MR").modality == "MR"


def test_a_single_slice_is_a_volume_of_one(tmp_path: Path) -> None:
    (path, *_) = write_dicom_series(tmp_path / "ct", GRIDS["oblique"])
    image = read(path.rename(tmp_path / "slice.dcm"))
    assert image.geometry.shape == (1, *SHAPE[1:])
    assert_image_places(image, Grid(image.voxels, GRIDS["oblique"], ORIGIN))


def test_a_single_slice_without_suffix_is_recognised(tmp_path: Path) -> None:
    (path, *_) = write_dicom_series(tmp_path / "ct", GRIDS["oblique"])
    assert read(path.rename(tmp_path / "IM0001")).source.format == "dicom"


def test_subfolders_are_searched(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    (tmp_path / "ct" / "more").mkdir()
    for path in paths[:2]:
        path.rename(tmp_path / "ct" / "more" / path.name)
    np.testing.assert_array_equal(read(tmp_path / "ct").voxels, random_voxels().astype(int) - 1024)


def test_foreign_files_are_noted_and_ignored(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    (tmp_path / "ct" / "README-Series.txt").write_text("not an image\n" * 50)
    (tmp_path / "ct" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + bytes(300))
    (tmp_path / "ct" / "empty").touch()
    image = read(tmp_path / "ct")
    np.testing.assert_array_equal(image.voxels, random_voxels().astype(int) - 1024)
    (note,) = image.source.notes
    assert note.startswith("3 files that are not DICOM images were ignored")
    assert "README-Series.txt" in note


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_missing_slice_is_found(tmp_path: Path, k: int) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["oblique"])
    paths[k].unlink()
    with pytest.raises(GeometryError, match=r"^expected evenly spaced slices"):
        read(tmp_path / "ct")


def test_a_missing_slice_of_three_is_found(tmp_path: Path) -> None:
    stored = random_voxels((4, 6, 7))
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"], stored=stored)
    paths[1].unlink()
    with pytest.raises(GeometryError, match=r"^expected evenly spaced slices"):
        read(tmp_path / "ct")


@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_doubled_slice_is_found(tmp_path: Path, k: int) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["oblique"])
    shutil.copy(paths[k], tmp_path / "ct" / "again.dcm")
    edit_dicom(tmp_path / "ct" / "again.dcm", SOPInstanceUID=generate_uid())
    with pytest.raises(GeometryError, match=r"^expected one slice per position") as error:
        read(tmp_path / "ct")
    assert "again.dcm" in str(error.value)


def test_two_copies_of_one_slice_are_no_volume(tmp_path: Path) -> None:
    (path, *rest) = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    for other in rest:
        other.unlink()
    shutil.copy(path, tmp_path / "ct" / "again.dcm")
    with pytest.raises(GeometryError, match=r"^expected one slice per position"):
        read(tmp_path / "ct")


def test_a_slice_out_of_line_is_found(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    place = ORIGIN + 2 * GRIDS["plain"][:, 2] + [3.0, 0, 0]
    edit_dicom(paths[2], ImagePositionPatient=decimals(place))
    with pytest.raises(GeometryError, match=r"^expected evenly spaced slices"):
        read(tmp_path / "ct")


def two_series(folder: Path) -> tuple[str, str]:
    first, second = "1.2.826.0.1.111", "1.2.826.0.1.222"
    write_dicom_series(folder, GRIDS["plain"], uid=first)
    write_dicom_series(
        folder, GRIDS["oblique"], stored=random_voxels((3, 6, 7)), uid=second, seed=11
    )
    return first, second


def test_two_series_need_a_choice(tmp_path: Path) -> None:
    first, second = two_series(tmp_path / "ct")
    with pytest.raises(InputError, match=r"^expected one DICOM series") as error:
        read(tmp_path / "ct")
    for words in (first, second, "5 slices", "3 slices", "--series"):
        assert words in str(error.value)


@pytest.mark.parametrize("whole", [True, False])
def test_a_series_can_be_chosen(tmp_path: Path, whole: bool) -> None:
    first, second = two_series(tmp_path / "ct")
    for uid, slices, grid in ((first, 5, "plain"), (second, 3, "oblique")):
        image = read(tmp_path / "ct", series=uid if whole else uid[-4:])
        assert image.geometry.shape[0] == slices
        assert_image_places(image, Grid(image.voxels, GRIDS[grid], ORIGIN))
        assert any(uid in note for note in image.source.notes)


@pytest.mark.parametrize("series", ["9.9.9", ""])
def test_a_choice_that_fits_none_or_both_is_refused(tmp_path: Path, series: str) -> None:
    two_series(tmp_path / "ct")
    with pytest.raises(InputError, match=r"^expected one "):
        read(tmp_path / "ct", series=series)


def test_a_series_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x" * 400)
    with pytest.raises(InputError, match="--series"):
        read(tmp_path / "a.nii", series="1")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": 3, "PixelData": bytes(3 * 7 * 2)}, "same Rows"),
        ({"Columns": 2, "PixelData": bytes(6 * 2 * 2)}, "same Columns"),
        ({"PixelSpacing": [2, 2]}, "same PixelSpacing"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "same ImageOrientationPatient"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
        ({"PixelSpacing": None}, "same PixelSpacing"),
    ],
)
def test_slices_of_another_grid_are_refused(
    tmp_path: Path, tags: dict[str, Any], words: str
) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    edit_dicom(paths[2], **tags)
    with pytest.raises(GeometryError, match=words):
        read(tmp_path / "ct")


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0]},
        {"ImagePositionPatient": [1, 0]},
        {"ImagePositionPatient": []},
        {"PixelSpacing": [0, 1]},
        {"PixelSpacing": [1]},
        {"RescaleSlope": None, "PixelData": None},
        {"PixelData": b"\0\0"},
        {"BitsAllocated": 7},
    ],
)
def test_broken_headers_are_refused(tmp_path: Path, tags: dict[str, Any]) -> None:
    for path in write_dicom_series(tmp_path / "ct", GRIDS["plain"]):
        edit_dicom(path, **tags)
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(tmp_path / "ct")


def test_frames_without_places_are_slices_in_pixels(tmp_path: Path) -> None:
    (path, *_) = write_dicom_series(tmp_path / "ct", GRIDS["plain"], intercept=0)
    frames = random_voxels((2, 6, 7))
    edit_dicom(path, NumberOfFrames=2, PixelData=frames.tobytes())
    image = read(path.rename(tmp_path / "frames.dcm"))
    assert (image.kind, image.geometry.unit) == ("volume", "pixel")
    np.testing.assert_array_equal(image.voxels, frames)
    assert any("do not say where they lie" in note for note in image.source.notes)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"a folder with a DICOM series.*1 files"):
        read(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder with a DICOM series"):
        read(tmp_path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_cut_slice_is_never_left_out_silently(tmp_path: Path, share: float, k: int) -> None:
    stored = random_voxels((5, 40, 50))
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"], stored=stored)
    raw = paths[k].read_bytes()
    header = len(raw) - 2 * stored[0].size
    lengths = {0.2: 150, 0.5: header // 2, 0.9: header + 1000, 0.98: len(raw) - 10}
    paths[k].write_bytes(raw[: lengths[share]])
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(tmp_path / "ct")


@pytest.mark.parametrize("keep", [100, 140, 400, 700, 1000, 2000])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int) -> None:
    stored = random_voxels((1, 40, 50))
    (path,) = write_dicom_series(tmp_path / "ct", GRIDS["plain"], stored=stored)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PromptsegError, match=r"^expected "):
        read(path.rename(tmp_path / "cut.dcm"))


def test_colour_slices(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    paths = write_dicom_series(tmp_path / "us", GRIDS["plain"], intercept=0, Modality="US")
    for path, pixels in zip(paths, colours, strict=True):
        edit_dicom(
            path,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            PixelData=pixels.tobytes(),
        )
    image = read(tmp_path / "us")
    assert image.is_colour
    np.testing.assert_array_equal(image.voxels, colours)


def test_palette_slices_are_not_taken_for_gray_values(tmp_path: Path) -> None:
    stored = (random_voxels() % 4).astype(np.uint16)
    paths = write_dicom_series(tmp_path / "us", GRIDS["plain"], stored=stored, Modality="US")
    tables = [[0, 255, 10, 20], [0, 3, 250, 40], [0, 5, 6, 200]]
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.PhotometricInterpretation = "PALETTE COLOR"
        del ds.RescaleSlope, ds.RescaleIntercept
        for k, table in enumerate(tables, 1):
            ds.add_new((0x0028, 0x1100 + k), "US", [4, 0, 16])
            ds.add_new((0x0028, 0x1200 + k), "OW", (np.array(table, "<u2") * 257).tobytes())
        ds.save_as(path, enforce_file_format=True)
    expected = np.stack([np.array(t, np.uint8)[stored] for t in tables], axis=-1)
    try:
        image = read(tmp_path / "us")
    except PromptsegError:
        return
    np.testing.assert_array_equal(image.voxels, expected)


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["dcmqi_23x38x3", "dcmqi_ct_3slice", "rtutils_oriented", "torchio_series"]
)
def test_real_series_agree_with_gdcm(name: str) -> None:
    folder = real_data("formats", "dicom_series", name)
    image, other = read(folder), gdcm_grid(folder)
    np.testing.assert_allclose(image.voxels, other.voxels, atol=1e-3)
    np.testing.assert_allclose(image.geometry.matrix, other.matrix, atol=1e-3)
    np.testing.assert_allclose(image.geometry.origin, other.origin, atol=1e-3)


@pytest.mark.data
def test_every_real_dicom_file_is_read_or_refused_in_one_way() -> None:
    files = sorted(real_data("formats", "dicom").glob("*.dcm"))
    images, refusals = [], []
    for file in files:
        try:
            images.append(read(file))
        except PromptsegError as error:
            refusals.append(str(error))
    assert all(message.startswith("expected ") for message in refusals)
    assert {image.name for image in images} >= {
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "siemens_0.dcm",
    }


@pytest.mark.data
def test_one_real_image_in_five_transfer_syntaxes() -> None:
    names = ["RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless"]
    images = [read(real_data("formats", "dicom", f"MR_small_{name}.dcm")) for name in names]
    for image in images[1:]:
        np.testing.assert_array_equal(image.voxels, images[0].voxels)
        assert image.geometry.agrees_with(images[0].geometry)
