"""Every real DICOM file and series: the voxels and places of another library, or one clear error."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from formats.helpers import Grid, assert_image_places, grid_of_sitk, real_data
from promptseg.errors import InputError
from promptseg.formats import ReadOptions, dicom
from promptseg.image import Image

pytestmark = pytest.mark.data

PICTURES = {
    "JPEG-LL.dcm": "unknown",
    "JPGExtended.dcm": "unknown",
    "RG3_J2KI.dcm": "XR",
    "examples_palette.dcm": "US",
    "examples_rgb_color.dcm": "US",
    "image_dfl.dcm": "unknown",
    "vlut_04.dcm": "unknown",
    "US_ybr_full_422_uncompressed.dcm": "US",
}
VIDEOS = {
    "OBXXXX1A_rle_2frame.dcm": 2,
    "color3d_jpeg_baseline.dcm": 120,
    "examples_ybr_color.dcm": 30,
}
SLICES = [
    "J2K_pixelrep_mismatch.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "decimal_rescale.dcm",
    "examples_overlay.dcm",
    "explicit_VR-UN.dcm",
    "siemens_0.dcm",
    "slicethickness_empty_string.dcm",
]
UNPLACED = ["emri_small.dcm", "emri_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm"]
REFUSED = {
    "MR_truncated.dcm": r"complete DICOM pixel data.*8130 vs 8192",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "an image with pixels",
    "liver_1frame.dcm": "a DICOM SEG, masks",
    "no_meta.dcm": "a DICOM image",
    "rtstruct.dcm": "a DICOM RTSTRUCT, contours",
}
SYNTAXES = {
    "CTImage_explicit_le.dcm": 0,
    "CTImage_deflated.dcm": 0,
    "CTImage_j2k_lossless.dcm": 0,
    "CTImage_jpeg_ll_p14.dcm": 0,
    "CTImage_jpeg_ll_sv1.dcm": 0,
    "CTImage_jpegls_lossless.dcm": 0,
    "CTImage_jpegls_near.dcm": 1,
    "CTImage_rle.dcm": 0,
    "CTImage_jpeg_ext12.dcm": 36,
}
SERIES = ["dcmqi_23x38x3", "dcmqi_ct_3slice", "rtutils_oriented", "torchio_series"]
ALONE = {
    "dcmqi_23x38x3_multiframe.dcm",
    "rtdose.dcm",
    "siemens_dwi_0.dcm.gz",
    "CT0012_fragmented_no_bot.dcm",
    "siemens_xa10_enhanced",
    "ge_epi_multitimepoint",
}


def file(name: str) -> Path:
    folder = "dicom_ts" if name.startswith(("CTImage", "CT0012", "US_ybr")) else "dicom"
    return real_data("formats", folder, name)


def series(name: str) -> Path:
    return real_data("formats", "dicom_series", name)


def by_sitk(path: Path) -> NDArray[Any]:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def plane_grid(header: pydicom.Dataset, step: NDArray[np.float64]) -> tuple[Any, Any]:
    """Matrix and origin from a header by the equation of DICOM PS3.3 C.7.6.2.1.1, in unit vectors."""
    row, column = (
        v / np.linalg.norm(v) for v in np.reshape(header.ImageOrientationPatient, (2, 3))
    )
    dy, dx = (float(v) for v in header.PixelSpacing)
    return np.stack([row * dx, column * dy, step], axis=1), np.array(
        header.ImagePositionPatient, float
    )


def test_every_entry_has_a_test() -> None:
    entries = json.loads(real_data("formats", "formats.json").read_text())
    names = {
        Path(e["file"]).name
        for e in entries
        if e["file"].split("/")[0] in ("dicom", "dicom_series", "dicom_ts")
    }
    tested = {*PICTURES, *VIDEOS, *SLICES, *UNPLACED, *REFUSED, *SYNTAXES, *SERIES, *ALONE}
    assert names == tested


@pytest.mark.parametrize("name", SLICES)
def test_single_slices_are_volumes_of_one(name: str) -> None:
    path = file(name)
    image, other = dicom.read(path), grid_of_sitk(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(image.voxels, other.voxels)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1
    normal = np.cross(*np.array(header.ImageOrientationPatient, float).reshape(2, 3))
    grid = Grid(image.voxels, *plane_grid(header, normal * float(thickness)))
    assert_image_places(image, grid)
    assert_image_places(image, Grid(image.voxels, other.matrix, other.origin))


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str) -> None:
    image = dicom.read(file(name))
    assert image.kind == "picture"
    assert image.modality == PICTURES[name]
    np.testing.assert_array_equal(image.voxels, by_sitk(file(name))[0])


@pytest.mark.parametrize("name", VIDEOS)
def test_cines_are_videos_of_which_a_frame_can_be_chosen(name: str) -> None:
    image, other = dicom.read(file(name)), by_sitk(file(name))
    assert (image.kind, image.modality, len(image.voxels)) == ("video", "US", VIDEOS[name])
    np.testing.assert_array_equal(image.voxels, other)
    last = dicom.read(file(name), ReadOptions(frame=VIDEOS[name] - 1))
    assert last.kind == "picture"
    np.testing.assert_array_equal(last.voxels, other[-1])


@pytest.mark.parametrize("name", UNPLACED)
def test_frames_without_places_are_slices_in_pixels(name: str) -> None:
    image = dicom.read(file(name))
    assert (image.kind, image.geometry.unit) == ("volume", "pixel")
    np.testing.assert_array_equal(image.voxels, by_sitk(file(name)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_image_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        dicom.read(file(name))


@pytest.mark.parametrize("name", SYNTAXES)
def test_one_slice_in_every_transfer_syntax(name: str) -> None:
    header = pydicom.dcmread(file("CTImage_explicit_le.dcm"))
    reference = np.frombuffer(header.PixelData, "<i2").reshape(1, 512, 512) - 1024.0
    image = dicom.read(file(name))
    difference = np.abs(image.voxels - reference)
    assert difference.max() <= SYNTAXES[name]
    assert difference.mean() <= min(SYNTAXES[name], 4)
    assert image.geometry.agrees_with(dicom.read(file("CTImage_explicit_le.dcm")).geometry)


@pytest.mark.parametrize("name", SERIES)
def test_series_agree_with_gdcm(name: str) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series(name))))
    image, other = dicom.read(series(name)), grid_of_sitk(reader.Execute())
    np.testing.assert_allclose(image.voxels, other.voxels, atol=1e-3)
    assert_image_places(image, other)


def test_a_legacy_converted_object_is_the_series_it_was_made_from() -> None:
    enhanced = dicom.read(file("dcmqi_23x38x3_multiframe.dcm"))
    classic = dicom.read(series("dcmqi_23x38x3"))
    np.testing.assert_array_equal(enhanced.voxels, classic.voxels)
    assert enhanced.geometry.agrees_with(classic.geometry)
    assert [i.frame for i in enhanced.source.header.slices] == [0, 1, 2]


def test_fragments_without_an_offset_table_and_frames_against_the_normal() -> None:
    """ITK keeps the order of the frames, ours follows the normal, which points down here."""
    image, other = (
        dicom.read(file("CT0012_fragmented_no_bot.dcm")),
        sitk.ReadImage(str(file("CT0012_fragmented_no_bot.dcm"))),
    )
    np.testing.assert_array_equal(image.voxels[::-1], sitk.GetArrayFromImage(other))
    matrix = np.diag([-0.388672, 0.388672, -10])
    assert_image_places(image, Grid(image.voxels, matrix, np.array([99.5, -301.5, -149])))
    assert [i.frame for i in image.source.header.slices] == [1, 0]


def test_a_dose_is_a_volume_in_gray() -> None:
    image, other = (
        dicom.read(file("rtdose.dcm")),
        grid_of_sitk(sitk.ReadImage(str(file("rtdose.dcm")))),
    )
    header = pydicom.dcmread(file("rtdose.dcm"))
    gray = other.voxels * float(header.DoseGridScaling)
    np.testing.assert_allclose(image.voxels, gray, rtol=1e-6)
    step = np.array([0, 0, header.GridFrameOffsetVector[1] - header.GridFrameOffsetVector[0]])
    assert_image_places(image, Grid(image.voxels, *plane_grid(header, step.astype(float))))


def test_a_mosaic_lies_where_the_protocol_of_the_scanner_put_its_slices() -> None:
    """The protocol in the same file gives the centre of every slice; pixels are counted from 1/2."""
    path = file("siemens_dwi_0.dcm.gz")
    image = dicom.read(path)
    with gzip.open(path) as stream:
        header = pydicom.dcmread(stream)
    protocol = bytes(header[0x0029, 0x1020].value).decode("latin-1")
    centres = np.zeros((48, 3))
    pattern = r"asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*(\S+)"
    for number, axis, value in re.findall(pattern, protocol):
        centres[int(number), ("Sag", "Cor", "Tra").index(axis)] = float(value)
    assert image.voxels.shape == (48, 128, 128)
    index = np.stack([np.full(48, 64.0), np.full(48, 64.0), np.arange(48)], axis=1)
    np.testing.assert_allclose(image.geometry.to_world(index), centres, atol=1e-3)
    assert image.source.header is None


def test_enhanced_objects_of_one_time_point_each() -> None:
    folder = series("siemens_xa10_enhanced")
    with pytest.raises(InputError, match=r"4 frames of 6 slices.*temporal position.*0\.\.3"):
        dicom.read(folder)
    for k in range(4):
        image = dicom.read(folder, ReadOptions(frame=k))
        alone = pydicom.dcmread(folder / f"6_{k + 1}.dcm")
        np.testing.assert_array_equal(image.voxels, alone.pixel_array)
        groups = alone.PerFrameFunctionalGroupsSequence
        places = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
        assert_places(image, np.array(places, float))


def test_time_points_in_one_series() -> None:
    folder = series("ge_epi_multitimepoint")
    with pytest.raises(InputError, match=r"4 frames of 15 slices.*frame 3 has 4 slices"):
        dicom.read(folder)
    for k in range(4):
        image = dicom.read(folder, ReadOptions(frame=k))
        parts = [
            pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))[15 * k : 15 * (k + 1)]
        ]
        np.testing.assert_array_equal(image.voxels, [part.pixel_array for part in parts])
        assert_places(image, np.array([p.ImagePositionPatient for p in parts], float))
        assert any("README-Series.txt" in note for note in image.source.notes)


def assert_places(image: Image, positions: NDArray[np.float64]) -> None:
    index = np.zeros((len(positions), 3))
    index[:, 2] = np.arange(len(positions))
    np.testing.assert_allclose(image.geometry.to_world(index), positions, atol=1e-3)
