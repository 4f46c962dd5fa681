"""What hospitals have lying about: one clear line, exit code 2, and nothing written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from formats.dicom_makers import item, sequence
from formats.helpers import (
    ORTHOGONAL,
    decimals,
    edit_dicom,
    random_voxels,
    segmentation_of,
    two_overlapping,
    write_dicom_series,
)
from promptseg import read
from promptseg.cli.main import main

MATRIX = ORTHOGONAL["oblique"]
Maker = Callable[[Path], Path]
CASES: dict[str, tuple[Maker, str]] = {}


def bad(said: str) -> Callable[[Maker], Maker]:
    """Registers a maker of something bad in a folder, and words of the error it has to lead to."""

    def register(make: Maker) -> Maker:
        CASES[make.__name__] = make, said
        return make

    return register


def slices(folder: Path, **tags: Any) -> list[Path]:
    return write_dicom_series(folder, MATRIX, **tags)


def changed(folder: Path, change: Callable[[Dataset], None], count: int = 5) -> Path:
    """A series with something done to the data sets of some of its slices."""
    for path in slices(folder)[:count]:
        ds = pydicom.dcmread(path)
        change(ds)
        ds.save_as(path)
    return folder


@bad("0 files, none of them a DICOM image")
def empty_folder(folder: Path) -> Path:
    return folder


@bad("1 files, none of them a DICOM image")
def no_dicom(folder: Path) -> Path:
    (folder / "locked.zip").write_bytes(b"PK\3\4\x33\0\1\0" + bytes(100))
    return folder


@bad("got a gap of 5 mm")
def missing(folder: Path) -> Path:
    slices(folder)[2].unlink()
    return folder


@bad("got a gap of 5 mm")
def slice_of_0_bytes(folder: Path) -> Path:
    slices(folder)[2].write_bytes(b"")
    return folder


@bad("expected one slice per position")
def doubled(folder: Path) -> Path:
    shutil.copy(slices(folder)[2], folder / "copy.dcm")
    return folder


@bad("of a voxel (0.283 mm) away from even steps")
def uneven(folder: Path) -> Path:
    last = slices(folder)[4]
    place = np.array(pydicom.dcmread(last).ImagePositionPatient, float) + 0.3 * MATRIX[:, 2]
    edit_dicom(last, ImagePositionPatient=decimals(place))
    return folder


@bad("expected slices with the same ImageOrientationPatient")
def mixed_orientations(folder: Path) -> Path:
    edit_dicom(slices(folder)[1], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    return folder


@bad("expected slices with the same Rows, got 6 in")
def mixed_sizes(folder: Path) -> Path:
    edit_dicom(slices(folder)[1], Rows=3, PixelData=bytes(2 * 3 * 7))
    return folder


@bad("expected PixelSpacing above 0")
def spacing_of_0(folder: Path) -> Path:
    slices(folder, PixelSpacing=[0, 0])
    return folder


@bad("expected complete DICOM pixel data")
def cut_pixels(folder: Path) -> Path:
    path = slices(folder)[2]
    path.write_bytes(path.read_bytes()[:-20])
    return folder


@bad("1.2.840.113619.5.2, private or unknown; convert it to Explicit VR Little Endian")
def private_syntax(folder: Path) -> Path:
    for path in slices(folder):
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = "1.2.840.113619.5.2"
        ds.save_as(path, implicit_vr=True, little_endian=True)
    return folder


@bad("a film of transfer syntax MPEG-4")
def film_syntax(folder: Path) -> Path:
    def change(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
        ds.PixelData = encapsulate([bytes(40)])
        ds["PixelData"].is_undefined_length = True

    return changed(folder, change)


@bad("its pixels are encrypted; decrypt it first")
def encrypted(folder: Path) -> Path:
    def change(ds: Dataset) -> None:
        del ds.PixelData
        content = item(EncryptedContentTransferSyntaxUID="1.2.3", EncryptedContent=bytes(32))
        ds.EncryptedAttributesSequence = sequence(content)

    return changed(folder, change)


@bad("ImagePositionPatient")
def one_without_a_place(folder: Path) -> Path:
    def change(ds: Dataset) -> None:
        del ds.ImagePositionPatient

    return changed(folder, change, 1)


@bad("expected two directions in ImageOrientationPatient")
def no_directions(folder: Path) -> Path:
    slices(folder, ImageOrientationPatient=[0, 0, 0, 0, 0, 0])
    return folder


@bad("an image that fits into the")
def huge(folder: Path) -> Path:
    slices(folder, Rows=60_000, Columns=60_000)
    return folder


@bad("DICOMDIR: a list of files; name the folder of images")
def list_of_files(folder: Path) -> Path:
    path = folder / "DICOMDIR"
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.FileSetID = "A"
    ds.save_as(path, enforce_file_format=True)
    return path


@bad("an empty file; get it again")
def file_of_0_bytes(folder: Path) -> Path:
    (folder / "a.dcm").touch()
    return folder / "a.dcm"


@bad("a folder, device, socket or pipe")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.dcm")
    return folder / "a.dcm"


@bad("a folder, device, socket or pipe")
def device(folder: Path) -> Path:
    return Path("/dev/zero")


@bad("no such file")
def absent(folder: Path) -> Path:
    return folder / "a.dcm"


@pytest.mark.parametrize("verb", ["info", "segment", "convert"])
@pytest.mark.parametrize("name", CASES)
def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, verb: str
) -> None:
    make, said = CASES[name]
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in")
    out = str(tmp_path / "out.nii.gz")
    arguments = {
        "info": [str(path), "--preview", str(tmp_path / "out.png")],
        "segment": ["-i", str(path), "-o", out, "--box", "1,1,4,4@2"],
        "convert": ["-i", str(path), "-o", out],
    }[verb]
    assert main([verb, *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("error: expected ")
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("ending", ["dcm", "rtstruct.dcm"])
@pytest.mark.parametrize("reference", ["frame of reference", "place", "none", "no DICOM"])
def test_masks_and_images_that_do_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, reference: str
) -> None:
    slices(tmp_path / "ct")
    image = read(tmp_path / "ct")
    mask = segmentation_of(image, two_overlapping()).save(tmp_path / f"m.{ending}")
    arguments: list[Any] = ["-i", mask, "-o", tmp_path / "out.dcm"]
    if reference == "frame of reference":
        slices(tmp_path / "other", FrameOfReferenceUID="1.2.9")
    elif reference == "place":
        write_dicom_series(tmp_path / "other", MATRIX, stored=random_voxels()[:2])
    elif reference == "no DICOM":
        arguments += ["--reference", segmentation_of(image).save(tmp_path / "a.nii.gz")]
    if (tmp_path / "other").exists():
        arguments += ["--reference", tmp_path / "other"]
    assert main(["convert", *map(str, arguments)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: expected ")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["x.dcm", "x.nii.gz"])
def test_a_server_is_no_place_for_converted_masks(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    slices(tmp_path / "ct")
    mask = segmentation_of(read(tmp_path / "ct")).save(tmp_path / "m.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "-i", str(mask), "-o", f"dicomweb://127.0.0.1:1/{name}"]) == 2
    assert "error: expected a file, got dicomweb://127.0.0.1:1/" in capsys.readouterr().err
    assert not list(tmp_path.glob("dicomweb*"))
