"""Which files of a folder are images, which series they form, and what the others are."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from formats.dicom_makers import write_object
from formats.helpers import GRIDS, edit_dicom, random_voxels, write_dicom_series
from promptseg import read
from promptseg.errors import GeometryError, InputError
from promptseg.formats.dicom import scan, series_in


def test_series_are_listed_without_pixels(tmp_path: Path) -> None:
    write_dicom_series(tmp_path, GRIDS["plain"], uid="1.2.1", SeriesDescription="portal venous")
    write_object(tmp_path / "us.dcm", random_voxels(), True, SeriesInstanceUID="1.2.2")
    (tmp_path / "notes.txt").write_text("hello")
    found = scan(tmp_path)
    assert [s.uid for s in found.series] == ["1.2.1", "1.2.2"]
    ct, us = series_in(tmp_path)
    assert (ct.modality, ct.description, len(ct.instances)) == ("CT", "portal venous", 5)
    assert str(ct) == "1.2.1: CT, 5 slices, portal venous"
    assert str(us) == "1.2.2: OT, 5 frames in 1 files, no description"
    assert "PixelData" not in ct.instances[0].header
    assert found.ignored == ["notes.txt"]


@pytest.mark.parametrize(
    ("modality", "words"), [("SEG", "--mask"), ("RTSTRUCT", "--reference"), ("SR", "a report")]
)
def test_what_is_made_from_images_is_no_image(tmp_path: Path, modality: str, words: str) -> None:
    path = write_object(tmp_path / "made.dcm", random_voxels()[0], Modality=modality)
    with pytest.raises(InputError, match=rf"a DICOM {modality}, .*{words}"):
        read(path)
    write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    image = read(tmp_path)
    assert image.geometry.shape == (5, 6, 7)
    assert any("made.dcm" in note for note in image.source.notes)


def test_a_dose_beside_its_image_is_left_aside(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    write_object(tmp_path / "dose.dcm", random_voxels(), True, Modality="RTDOSE")
    image = read(tmp_path)
    assert image.modality == "CT"
    assert any("chosen out of 2" in note for note in image.source.notes)
    assert read(tmp_path, series="1.2.3.6").modality == "unknown"


def test_pipes_and_links_in_a_folder_do_no_harm(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    os.mkfifo(tmp_path / "ct" / "pipe")
    (tmp_path / "ct" / "loop").symlink_to(tmp_path / "ct")
    (tmp_path / "ct" / "gone").symlink_to(tmp_path / "nowhere")
    image = read(tmp_path / "ct")
    assert image.geometry.shape == (5, 6, 7)
    assert any("pipe" in note for note in image.source.notes)


def test_gzipped_files(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    for path in paths:
        path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(read(tmp_path / "ct").voxels, random_voxels() - 1024)
    assert read(next((tmp_path / "ct").iterdir())).geometry.shape == (1, 6, 7)


def test_a_damaged_gzip_is_ignored_and_named(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    (tmp_path / "ct" / "x.dcm.gz").write_bytes(gzip.compress(paths[0].read_bytes())[:200])
    assert any("x.dcm.gz" in note for note in read(tmp_path / "ct").source.notes)


@pytest.mark.parametrize("name", ["ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm"])
def test_data_sets_without_file_meta_are_recognised(name: str) -> None:
    with pytest.raises(InputError, match=r"a DICOM RT(PLAN|STRUCT)"):
        read(get_testdata_file(name))


def test_an_image_without_file_meta_is_read(tmp_path: Path) -> None:
    (path, *_) = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    ds = pydicom.dcmread(path)
    bare = pydicom.Dataset({e.tag: e for e in ds})
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read(tmp_path / "bare.dcm").voxels[0], random_voxels()[0] - 1024)


def test_pictures_of_one_series_are_named_one_by_one(tmp_path: Path) -> None:
    for k in range(3):
        write_object(tmp_path / f"view{k}.dcm", random_voxels()[k], Modality="DX")
    with pytest.raises(GeometryError, match=r"3 files without: view0\.dcm, view1.*name one of"):
        read(tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "view1.dcm").voxels, random_voxels()[1])


@pytest.mark.parametrize("spacing", [[0, 1], [1, -1], ["0.0", "0.0"]])
def test_spacing_of_zero_is_refused(tmp_path: Path, spacing: list[float]) -> None:
    for path in write_dicom_series(tmp_path / "ct", GRIDS["plain"]):
        edit_dicom(path, PixelSpacing=spacing)
    with pytest.raises(GeometryError, match="PixelSpacing above 0"):
        read(tmp_path / "ct")


def test_absent_spacing_is_taken_as_1_mm_and_noted(tmp_path: Path) -> None:
    for path in write_dicom_series(tmp_path / "ct", GRIDS["plain"]):
        edit_dicom(path, PixelSpacing=None)
    image = read(tmp_path / "ct")
    np.testing.assert_allclose(image.geometry.spacing, [1, 1, 2.5])
    assert image.source.notes == ["no PixelSpacing: pixels taken as 1 mm"]


def test_one_file_of_a_series_says_that_there_are_others(tmp_path: Path) -> None:
    one, other, *_ = write_dicom_series(tmp_path / "ct", GRIDS["plain"])
    said = "one file of a series whose others lie beside it; give the folder for all"
    assert said in read(one).source.notes
    assert said not in read(tmp_path / "ct").source.notes
    alone = tmp_path / "alone" / "0.bin"
    alone.parent.mkdir()
    alone.write_bytes(one.read_bytes())
    (alone.parent / "1.bin").write_bytes(b"no DICOM")
    edit_dicom(other, SeriesInstanceUID="1.2.99")
    (alone.parent / "2.bin").write_bytes(other.read_bytes())
    assert said not in read(alone).source.notes
