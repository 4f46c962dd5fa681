"""No verb writes over what it reads, and only a typed --overwrite replaces what exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image as PilImage

from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.jobs import segment as segment_job
from promptseg.models.cards import CARDS
from promptseg.segment.segmenter import Segmenter

NOBODY = ("--predictions", "us/masks")
BOX = ("--box", "4,4,16,16@1=block")


def voxels() -> np.ndarray[Any, Any]:
    values = np.full((3, 20, 20), 10, np.int16)
    values[:, 5:15, 5:15] = 200
    return values


@pytest.fixture(autouse=True)
def _bright(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Segmenter:
        return Segmenter(BrightPredictor())

    monkeypatch.setattr(segment_job, "load", load)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nib.save(nib.Nifti1Image(voxels().T, np.eye(4)), tmp_path / "scan.nii.gz")
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(work: Path, said: str, capsys: pytest.CaptureFixture[str], *command: str) -> None:
    before = state(work)
    code = main(list(command))
    err = capsys.readouterr().err
    assert code == 2, err
    assert said in err
    assert state(work) == before


def dicom_series(folder: Path) -> list[Path]:
    import pydicom
    from pydicom.data import get_testdata_file

    folder.mkdir()
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for k in range(3):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
        ds.ImagePositionPatient, ds.InstanceNumber = [0, 0, 2.5 * k], k + 1
        ds.save_as(folder / f"{k}.dcm")
    return sorted(folder.iterdir())


def test_a_slice_of_the_input_or_reference_is_no_output(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dicom_series(work / "series")
    segment = ("segment", "-i", "series", "-o", "series/1.dcm", "--overwrite", *BOX)
    refused(work, "series/1.dcm, which is read", capsys, *segment)
    labels = np.zeros((3, 128, 128), np.uint8)
    labels[1, 5:9, 5:9] = 1
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(work / "mask.nrrd"))
    convert = ("convert", "-i", "mask.nrrd", "--reference", "series", "--overwrite")
    refused(work, "series/2.dcm, which is read", capsys, *convert, "-o", "series/2.dcm")
    (work / "mask.dcm").symlink_to(work / "series" / "0.dcm")
    refused(work, "mask.dcm, which is read", capsys, *convert, "-o", "mask.dcm")


def test_the_voxels_of_a_detached_header_are_no_output(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(voxels()), str(work / "a.mhd"))
    (work / "a.mhd").write_text((work / "a.mhd").read_text().replace("a.raw", "b.mha.json"))
    (work / "a.raw").rename(work / "b.mha.json")
    said = "b.mha.json, which is read"
    refused(work, said, capsys, "segment", "-i", "a.mhd", "-o", "b.mha", "--overwrite", *BOX)
    convert = ("convert", "-i", "a.mhd", "-o", "b.mha", "--overwrite")
    refused(work, said, capsys, *convert)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii.gz.json", "out.nii.gz.overlay.png"])
def test_a_second_name_of_the_input_is_no_output(
    work: Path, name: str, link: Callable[[Path, Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    link(work / name, work / "scan.nii.gz")
    command = ("segment", "-i", "scan.nii.gz", "-o", "out.nii.gz", "--overwrite", *BOX)
    refused(work, f"{name}, which is read", capsys, *command)


def test_prompts_configuration_and_masks_that_are_read_are_no_outputs(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"name": "block", "boxes": [{"xyxy": [4, 4, 16, 16], "slice": 1}]}
    (work / "p.nii.gz.json").write_text(json.dumps({"objects": [entry]}))
    segment = ("segment", "-i", "scan.nii.gz", "--overwrite")
    prompted = (*segment, "-o", "p.nii.gz", "--prompts", "p.nii.gz.json")
    refused(work, "p.nii.gz.json", capsys, *prompted)
    (work / "c.nii.gz.json").write_text(json.dumps({"modality": "CT"}))
    configured = (*segment, "-o", "c.nii.gz", "--config", "c.nii.gz.json", *BOX)
    refused(work, "c.nii.gz.json", capsys, *configured)
    assert main([*segment, "-o", "m.nii.gz", "--modality", "CT", *BOX]) == 0
    for option in ("--correct", "--mask"):
        refused(work, "m.nii.gz", capsys, *segment, "-o", "m.nii.gz", option, "m.nii.gz", *BOX)
    refused(work, "m.nii.gz", capsys, *segment, "-o", "m.nii.gz", "--replay", "m.nii.gz.json")
    (work / "copy.json").write_bytes((work / "m.nii.gz.json").read_bytes())
    refused(work, "m.nii.gz", capsys, *segment, "-o", "m.nii.gz", "--replay", "copy.json")
    refused(work, "m.nii.gz", capsys, "convert", "-i", "m.nii.gz", "-o", "m.nii.gz", "--overwrite")


@pytest.mark.parametrize("option", ["--replay", "--config"])
def test_overwrite_in_a_file_is_not_overwrite_typed(
    work: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "-i", "scan.nii.gz", "-o", "m.nii.gz", "--modality", "CT", *BOX]) == 0
    earlier = json.loads((work / "m.nii.gz.json").read_text())
    earlier["command"]["overwrite"] = True
    earlier["command"]["output"] = str(work / "mine.nii.gz")
    (work / "theirs.json").write_text(json.dumps(earlier))
    (work / "mine.nii.gz").write_text("mine")
    refused(work, "mine.nii.gz: exists", capsys, "segment", option, "theirs.json")
    assert main(["segment", option, "theirs.json", "-o", "new.nii.gz"]) == 0
    assert "overwrite in theirs.json does not count" in capsys.readouterr().err
    assert main(["segment", option, "theirs.json", "--overwrite"]) == 0
    assert (work / "mine.nii.gz").read_bytes() != b"mine"


def test_overwrite_in_a_configuration_counts_for_no_verb(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "c.yaml").write_text("overwrite: true\noutput: mine\n")
    (work / "mine").mkdir()
    (work / "mine" / "run.json").write_text("mine")
    (work / "us" / "images").mkdir(parents=True)
    (work / "us" / "masks").mkdir()
    for kind in ("images", "masks"):
        PilImage.fromarray(np.eye(20, dtype=np.uint8)).save(work / "us" / kind / "a.png")
    refused(work, "mine with other files", capsys, "curate", "--config", "c.yaml", "-i", "us")
    refused(work, "others: run.json", capsys, "evaluate", "--config", "c.yaml", "-i", "us", *NOBODY)
    (work / "t.yaml").write_text("overwrite: true\noutput: mine\ninput: us\n")
    refused(work, "overwrite in t.yaml does not count", capsys, "train", "t.yaml")


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii.gz.json", "out.nii.gz.overlay.png"])
def test_what_appears_while_the_model_works_stays(
    work: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = BrightPredictor.decode

    def decode(self: BrightPredictor, *args: Any, **kwargs: Any) -> Any:
        (work / name).write_text("mine")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(BrightPredictor, "decode", decode)
    command = ["segment", "-i", "scan.nii.gz", "-o", "out.nii.gz", "--modality", "CT", *BOX]
    assert main(command) == 2
    assert name in capsys.readouterr().err
    assert state(work).keys() == {"scan.nii.gz", name}
    assert (work / name).read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert (work / name).read_bytes() != b"mine"


def test_a_folder_of_images_keeps_all_of_them(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(voxels().T, np.eye(4)), work / f"cases_{name}.nii.gz")
    cases, out = work / "cases", work / "out"
    for folder in (cases, out):
        folder.mkdir()
    for name in ("a", "b"):
        (work / f"cases_{name}.nii.gz").rename(cases / f"{name}.nii.gz")
    (out / "a.nii.gz").hardlink_to(cases / "b.nii.gz")  # the output of one is the other's input
    before = state(cases)
    command = ["segment", "-i", "cases", "-o", "out", "--modality", "CT", *BOX]
    assert main([*command, "--overwrite"]) == 2
    assert "a.nii.gz, which is read" in capsys.readouterr().err
    assert state(cases) == before
    assert (out / "b.nii.gz").exists()

    # what appears at the place of one that is then refused is not replaced by the next run either
    (out / "a.nii.gz").unlink()
    plain = BrightPredictor.decode

    def decode(self: BrightPredictor, *args: Any, **kwargs: Any) -> Any:
        (out / "a.nii.gz").write_text("mine")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(BrightPredictor, "decode", decode)
    for _ in range(2):
        assert main(command) == 2
        assert (out / "a.nii.gz").read_text() == "mine"
    assert not (out / ".promptseg-begun").exists()


def test_results_among_the_images_are_no_images(work: Path) -> None:
    cases = work / "cases"
    for name in ("one", "two"):
        cases.mkdir(exist_ok=True)
        dicom_series(cases / name)
    command = ["segment", "-i", "cases", "-o", "cases/masks", "--suffix", ".dcm", "--quiet"]
    for _ in range(2):
        assert main([*command, "--modality", "CT", *BOX]) == 0
        assert sorted(p.name for p in (cases / "masks").glob("*.dcm")) == ["one.dcm", "two.dcm"]


def test_a_preview_a_table_and_a_log(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PilImage.fromarray(np.eye(20, dtype=np.uint8) * 200).save(work / "p.png")
    refused(work, "which is read", capsys, "info", "p.png", "--preview", "p.png", "--overwrite")
    add = ["study", "add", "log.csv", "--case", "a", "--expert", "b", "--phase", "manual"]
    assert main([*add, "--seconds", "3"]) == 0
    table = ("study", "table", "log.csv", "--overwrite", "--csv")
    refused(work, "log.csv, which is read", capsys, *table, "log.csv")
    refused(work, "twice", capsys, *table, "t.csv", "--latex", "t.csv")
    (work / "notes.txt").write_text("one line of mine")
    add[2] = "notes.txt"
    refused(work, "JSON lines", capsys, *add, "--seconds", "3")


def test_weights_are_no_output(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "w.nii.gz.json").write_text("weights")
    named = next(iter(CARDS)) + "=w.nii.gz.json"
    command = ("segment", "-i", "scan.nii.gz", "-o", "w.nii.gz", "--model", named, "--overwrite")
    refused(work, "w.nii.gz.json, which is read", capsys, *command, *BOX)
