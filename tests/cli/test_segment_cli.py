"""`promptseg segment` from files to files, with the real model."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from PIL import Image as PilImage

from fakes import ball
from formats.helpers import ORTHOGONAL, write_dicom_series
from json_answers import answer
from promptseg.cli.main import main
from promptseg.errors import OutputError
from promptseg.jobs.segment import check_outputs
from promptseg.segment.options import SegmentJob

pytestmark = pytest.mark.weights


@pytest.fixture(autouse=True)
def _weights(lite_medsam_weights: Path) -> None:
    """Every test here needs them."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A bright disc on a gray ramp."""
    y, x = np.indices((120, 160))
    values = (60 + x / 4).astype(np.uint8)
    values[(x - 90) ** 2 + (y - 60) ** 2 < 30**2] = 220
    path = tmp_path / "disc.png"
    PilImage.fromarray(values).save(path)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A bright ball in soft tissue, oblique grid, 5 slices."""
    inside = ball((5, 64, 64), (2, 32, 32), 16)
    values = np.where(inside, 200, 0).astype(np.int16) - np.int16(100)
    values[0, 0, :2] = -1000, 1000
    c, s = np.cos(0.2), np.sin(0.2)
    affine = np.array([[-c, s, 0, 40], [-s, -c, 0, 60], [0, 0, 4, -90], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values.T, affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def run(*arguments: Any) -> int:
    return main(["segment", *map(str, arguments)])


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_picture_gets_a_mask_an_overlay_and_its_provenance(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "mask.png"
    assert run("-i", picture, "-o", out, "--box", "60,30,120,90=disc") == 0
    mask = np.asarray(PilImage.open(out))
    y, x = np.indices(mask.shape)
    assert mask.dtype == np.uint8
    assert dsc(mask == 1, (x - 90) ** 2 + (y - 60) ** 2 < 30**2) > 0.95
    assert files(out.parent) == ["mask.png", "mask.png.json", "mask.png.overlay.png"]
    facts = json.loads((out.parent / "mask.png.json").read_text())
    assert facts["objects"][0]["name"] == "disc"
    assert facts["objects"][0]["long_axis"] == pytest.approx(60, abs=3)
    assert facts["intensity"]["guessed"] is True
    printed = capsys.readouterr()
    assert str(out) in printed.out
    assert "does not say its modality" in printed.err


def test_a_volume_comes_back_on_its_own_grid_and_can_be_replayed(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mask.nii.gz"
    assert run("-i", scan, "-o", out, "--box", "17,17,47,47@2=ball", "--quiet") == 0
    before, after = nib.load(scan), nib.load(out)
    np.testing.assert_array_equal(before.affine, after.affine)
    mask = np.asarray(after.dataobj).T == 1
    assert dsc(mask, ball((5, 64, 64), (2, 32, 32), 16)) > 0.9

    again = tmp_path / "again.nii.gz"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("--config", tmp_path / "mask.nii.gz.json", "-o", again, "--quiet") == 0
    np.testing.assert_array_equal(np.asarray(nib.load(again).dataobj).T == 1, mask)


def test_a_model_given_as_name_and_file_can_be_replayed(
    picture: Path,
    lite_medsam_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.pth").symlink_to(lite_medsam_weights)
    monkeypatch.chdir(tmp_path)
    given = ["-i", picture, "--box", "60,30,120,90=disc", "--no-overlay", "--quiet"]
    assert run(*given, "-o", "m.png", "--model", "lite-medsam=mine.pth") == 0
    replay = json.loads(Path("m.png.json").read_text())["command"]
    assert replay["model"] == f"lite-medsam={tmp_path / 'mine.pth'}"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("--config", tmp_path / "m.png.json", "-o", tmp_path / "n.png", "--quiet") == 0
    assert (tmp_path / "n.png").read_bytes() == (tmp_path / "m.png").read_bytes()

    assert (
        run(*given, "-o", tmp_path / "o.png", "--model", f"mobile-sam={replay['model'][12:]}") == 2
    )
    assert "a checkpoint of mobile-sam" in capsys.readouterr().err


def test_weights_are_not_overwritten(picture: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.png"
    weights.write_bytes(b"weights")
    job = SegmentJob(input=picture, output=weights, overwrite=True, model=f"sam-vit-b={weights}")
    with pytest.raises(OutputError, match="which is read"):
        check_outputs(job)


def test_a_configuration_file_counts_as_options_given_first(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("min-iou: 0.3\nmargin: 0.1\noverlay: false\nbox:\n  - 60,30,120,90=disc\n")
    out = tmp_path / "m.png"
    assert run("--config", config, "-i", picture, "-o", out, "--min-iou", "0.4") == 0
    options = json.loads((tmp_path / "m.png.json").read_text())["options"]
    assert (options["min_iou"], options["margin"]) == (0.4, 0.1)
    assert not (tmp_path / "m.png.overlay.png").exists()
    for text, message in (
        ("slices: 3:10", "slices in quotes"),
        ("overlay: maybe", "true or false"),
        ("- a list", "`option: value` lines"),
        ("a: [", "in YAML or JSON"),
    ):
        config.write_text(text)
        assert run("--config", config, "-i", picture, "-o", tmp_path / "n.png") == 2
        assert message in capsys.readouterr().err
    config.write_text("min-iou: high")
    assert run("--config", config, "-i", picture, "-o", tmp_path / "n.png") == 2


def test_the_same_masks_in_every_format(scan: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"m{k}{s}" for k, s in enumerate((".nii.gz", ".nrrd", ".mha", ".npz"))]
    for out in outputs:
        box = "17,17,47,47@2=ball"
        assert run("-i", scan, "-o", out, "--box", box, "--slices", "2:2", "--no-overlay") == 0
    masks = [sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in outputs[:3]]
    masks.append(np.load(outputs[3])["segs"])
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_prompts_from_a_file_and_from_an_npz(tmp_path: Path, scan: Path) -> None:
    values = np.asarray(nib.load(scan).dataobj).T
    windowed = np.clip((values + 160) / 400 * 255, 0, 255).astype(np.uint8)
    case = tmp_path / "CT_case.npz"
    np.savez(case, imgs=windowed, spacing=[1, 1, 4], boxes=[[17, 17, 1, 47, 47, 3]])
    assert run("-i", case, "-o", tmp_path / "a.npz", "--no-overlay") == 0
    segs = np.load(tmp_path / "a.npz")["segs"]
    assert list(np.flatnonzero(segs.any((1, 2)))) == [1, 2, 3]

    prompts = tmp_path / "prompts.json"
    entry = {"name": "ball", "boxes": [{"xyxy": [17, 17, 47, 47], "slice": 2}]}
    prompts.write_text(json.dumps({"image": "scan.nii.gz", "objects": [entry]}))
    out = tmp_path / "b.nii.gz"
    assert run("-i", scan, "-o", out, "--prompts", prompts, "--propagate", "none") == 0
    assert list(np.flatnonzero(np.asarray(nib.load(out).dataobj).any((0, 1)))) == [2]


def test_a_click_is_refused_before_the_image_is_read_and_the_model_loaded(
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def late(*_: Any, **__: Any) -> None:
        raise AssertionError("too late")

    for name in ("read", "load"):
        monkeypatch.setattr(f"promptseg.jobs.segment.{name}", late)
    out = tmp_path / "m.png"
    assert run("-i", picture, "-o", out, "--point", "90,60,+") == 2
    assert "use --model promptseg-lite" in capsys.readouterr().err


def test_a_click_is_refused_and_forced(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mask.png"
    assert run("-i", picture, "-o", out, "--point", "90,60,+") == 2
    assert "use --model promptseg-lite, which takes it" in capsys.readouterr().err
    assert not out.exists()
    assert run("-i", picture, "-o", out, "--point", "90,60,+", "--force") == 0
    assert out.exists()


def test_json_output_is_json(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-i", picture, "-o", tmp_path / "m.png", "--box", "60,30,120,90", "--json") == 0
    assert answer("segment", capsys.readouterr().out)["model"]["name"] == "lite-medsam"


BAD: dict[str, tuple[list[str], str]] = {
    "missing": (["-i", "none.png", "--box", "1,1,5,5"], "no such file"),
    "not an image": (["-i", "text.png", "--box", "1,1,5,5"], "readable png image"),
    "constant": (["-i", "flat.png", "--box", "1,1,5,5"], "more than one value"),
    "nan": (["-i", "nan.nii", "--box", "1,1,5,5@1"], "--nan-as VALUE"),
    "no prompt": (["-i", "disc.png"], "at least one prompt"),
    "empty box": (["-i", "disc.png", "--box", ""], "a box written"),
    "outside": (["-i", "disc.png", "--box", "100,100,170,110"], "coordinates inside the image"),
    "inverted": (["-i", "disc.png", "--box", "50,10,20,30"], "x0 <= x1"),
    "negative": (["-i", "disc.png", "--box", "-5,10,20,30"], "coordinates inside the image"),
    "slice": (["-i", "scan.nii.gz", "--box", "1,1,5,5@9"], "a slice from 0 to 4"),
    "no slice": (["-i", "scan.nii.gz", "--box", "1,1,5,5"], "write it as @N"),
    "3d on 2d": (["-i", "disc.png", "--box3d", "1,1,0,5,5,0"], "a volume for a 3D box"),
    "unknown field": (["-i", "disc.png", "--prompts", "typo.json"], "only the fields"),
    "bad json": (["-i", "disc.png", "--prompts", "text.png"], "a prompt file in JSON"),
    "no prompt file": (["-i", "disc.png", "--prompts", "none.json"], "a prompt file"),
    "model": (["-i", "disc.png", "--box", "1,1,5,5", "--model", "medsan"], "a model out of"),
    "other weights": (["-i", "disc.png", "--box", "1,1,5,5", "--model", "other.pth"], "closest to"),
    "modality": (["-i", "disc.png", "--box", "1,1,5,5", "--modality", "CR"], "a modality out of"),
    "window": (["-i", "disc.png", "--box", "1,1,5,5", "--window", "wide"], "a window WIDTH/LEVEL"),
    "device": (["-i", "disc.png", "--box", "1,1,5,5", "--device", "cuda:99"], "a device of this"),
    "range": (["-i", "scan.nii.gz", "--box", "1,1,5,5@1", "--slices", "4:2"], "slices within"),
    "option": (["-i", "disc.png", "--box", "1,1,5,5", "--min-iou", "7"], "an IoU from 0 to 1"),
    "config": (["-i", "disc.png", "--config", "typo.yaml"], "options out of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_error_and_nothing_is_written(
    case: str,
    picture: Path,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, message = BAD[case]
    (tmp_path / "text.png").write_text("this is not a 2D image")
    PilImage.fromarray(np.full((20, 20), 7, np.uint8)).save(tmp_path / "flat.png")
    broken = np.zeros((8, 8, 3), np.float32)
    broken[1, 1, 1], broken[2, 2, 2] = np.nan, 5
    nib.save(nib.Nifti1Image(broken, np.eye(4)), tmp_path / "nan.nii")
    typo = {"objects": [{"name": "a", "boxs": [{"xyxy": [1, 1, 5, 5]}]}]}
    (tmp_path / "typo.json").write_text(json.dumps(typo))
    (tmp_path / "typo.yaml").write_text("margn: 0.1\n")
    torch.save({"conv.weight": torch.ones(2)}, tmp_path / "other.pth")
    before = files(tmp_path)
    monkeypatch.chdir(tmp_path)
    out = "out.nii.gz" if "nii" in arguments[1] else "out.png"
    assert run(*arguments, "-o", out) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("error:") == 1
    assert "Traceback" not in printed.err
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("exists.png", "choose another or --overwrite"),
        ("exists2.png", "exists2.png.json: exists"),
        ("disc.png/mask.png", "a folder that can be written"),
        ("mask.jpg", "rename it"),
        ("mask.nii.gz.txt", "no known mask format"),
        (".", "an output file"),
    ],
)
def test_outputs_that_cannot_be_written(
    out: str,
    message: str,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exists.png").write_text("mine")
    (tmp_path / "exists2.png.json").write_text("mine")
    assert run("-i", picture, "-o", out, "--box", "60,30,120,90") == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "exists.png").read_text() == "mine"
    assert (tmp_path / "exists2.png.json").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "disc.png", "--overwrite", "--box", "60,30,120,90"],
        ["-o", "p.nii.gz", "--overwrite", "--prompts", "p.nii.gz.json"],
    ],
)
def test_inputs_are_never_replaced(
    arguments: list[str],
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = {"name": "disc", "boxes": [{"xyxy": [60, 30, 120, 90]}]}
    (tmp_path / "p.nii.gz.json").write_text(json.dumps({"objects": [entry]}))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert run("-i", picture, *arguments) == 2
    assert "outputs that are not inputs too" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_study_folder_with_one_series_below(tmp_path: Path) -> None:
    pydicom_data = pytest.importorskip("pydicom.data")
    study = tmp_path / "study" / "series1"
    study.mkdir(parents=True)
    shutil.copy(pydicom_data.get_testdata_file("CT_small.dcm"), study / "1.dcm")
    out = tmp_path / "mask.nii.gz"
    assert run("-i", tmp_path / "study", "-o", out, "--box", "40,40,90,90", "--no-overlay") == 0
    assert out.is_file()
    assert nib.load(out).shape == (128, 128, 1)


def test_a_failing_overlay_leaves_nothing_behind(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptseg.jobs import segment as job

    class Broken:
        def save(self, _: Path) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "overlay_picture", lambda *_: Broken())
    assert run("-i", picture, "-o", tmp_path / "m.png", "--box", "60,30,120,90") == 2
    assert files(tmp_path) == ["disc.png"]


def test_a_full_disk_leaves_nothing_behind(
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import errno

    from promptseg.formats import image_2d as module

    def full(_segmentation: Any, path: Path, _layers: bool) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write", full)
    before = files(tmp_path)
    assert run("-i", picture, "-o", tmp_path / "mask.png", "--box", "60,30,120,90") == 2
    assert "no space left on the disk" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_overlapping_objects_need_a_format_that_holds_them(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = ["--box", "60,30,120,90=disc", "--box", "55,25,125,95=same"]
    out = tmp_path / "mask.png"
    assert run("-i", picture, "-o", out, *boxes) == 2
    assert "--overlap later-wins" in capsys.readouterr().err
    assert files(tmp_path) == ["disc.png"]
    assert run("-i", picture, "-o", out, *boxes, "--overlap", "later-wins") == 0
    assert run("-i", picture, "-o", tmp_path / "layers.tif", *boxes) == 0
    with PilImage.open(tmp_path / "layers.tif") as layers:
        assert layers.n_frames == 2


@pytest.fixture
def folder(picture: Path, tmp_path: Path) -> Path:
    """Three 2D images and a prompt file for all of them."""
    images = tmp_path / "images"
    images.mkdir()
    for name in "abc":
        shutil.copy(picture, images / f"{name}.png")
    entry = {"name": "disc", "boxes": [{"xyxy": [60, 30, 120, 90]}]}
    (tmp_path / "all.json").write_text(json.dumps({"objects": [entry]}))
    return images


def test_a_folder_is_segmented_and_resumed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["-i", folder, "-o", out, "--prompts", tmp_path / "all.json"]
    assert run(*command) == 0
    assert len(files(out)) == 10
    assert "3 images, 0 done already" in capsys.readouterr().out
    stamps = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    (out / "b.png.json").unlink()  # as if killed when only the mask of b was there
    (out / "b.png.overlay.png").unlink()
    (out / "c.png.json").unlink()  # as if c had not been begun
    (out / "c.png").unlink()
    (out / "c.png.overlay.png").unlink()
    (out / ".promptseg-begun").write_text("b.png\n")
    assert run(*command) == 0
    assert "3 images, 1 done already" in capsys.readouterr().out
    assert len(files(out)) == 10
    assert all(p.stat().st_mtime_ns == t for p, t in stamps.items() if p.name[0] == "a")


def test_a_folder_without_patients_names_no_place_and_is_resumed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-i", folder, "-o", tmp_path / "out", "--prompts", tmp_path / "all.json"]
    command += ["--deidentify", "--no-overlay"]
    assert run(*command) == 0
    for name in "abc":
        assert str(tmp_path) not in (tmp_path / "out" / f"{name}.png.json").read_text()
    assert run(*command) == 0
    assert "3 images, 3 done already" in capsys.readouterr().out
    os.utime(folder / "a.png", ns=(0, 0))
    assert run(*command) == 2
    assert "3 images, 2 done already" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["dcm", "rtstruct.dcm", "nii.gz"])
def test_no_byte_of_what_is_deidentified_names_the_patient_the_user_or_a_place(
    tmp_path: Path, lite_medsam_weights: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    home = tmp_path / "jdoe"
    patient = {"PatientName": "Secret^Jane", "PatientID": "MRN-Kx4711qZ", "StudyDate": "20200405"}
    patient |= {"InstitutionName": "Hospital-17", "PatientBirthDate": "19610203"}
    write_dicom_series(home / "Secret" / "ct", ORTHOGONAL["plain"], Modality="MR", **patient)
    (home / "Secret" / "ct" / "Secret.txt").write_text("Secret")  # the reader's note names it
    (home / "weights.pth").symlink_to(lite_medsam_weights)
    out = tmp_path / "out" / f"mask.{ending}"
    command = ["-i", home / "Secret" / "ct", "-o", out, "--box", "1,1,5,4@2=node", "--deidentify"]
    assert run(*command, "--engine", "eager", "--model", f"lite-medsam={home / 'weights.pth'}") == 0
    said = capsys.readouterr()
    names = files(out.parent)
    assert len(names) == 3
    seen = (said.out + said.err).encode()
    for name in names:
        content = (out.parent / name).read_bytes()
        seen += content + (gzip.decompress(content) if name.endswith(".gz") else b"")
    with PilImage.open(out.parent / f"mask.{ending}.overlay.png") as overlay:
        seen += repr((overlay.info, getattr(overlay, "text", None))).encode()
    for secret in ("Secret", "jdoe", "weights.pth", "Kx4711qZ", "Hospital", "19610203", "20200405"):
        assert secret.encode() not in seen, secret
    assert str(tmp_path).encode() not in seen
    assert "notes on the input are not shown" in said.err


def test_masks_of_somebody_else_are_not_replaced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.png").write_text("mine")
    command = ["-i", folder, "-o", out, "--prompts", tmp_path / "all.json", "--no-overlay"]
    assert run(*command) == 2
    assert "b.png: exists" in capsys.readouterr().err
    assert (out / "b.png").read_text() == "mine"
    assert (out / "c.png").exists()


def test_finished_results_of_another_request_are_kept_unless_overwritten(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["-i", folder, "-o", out, "--prompts", tmp_path / "all.json", "--no-overlay"]
    assert run(*command) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(*command, "--fill-holes") == 2
    assert "a.png: expected a new output file" in capsys.readouterr().err
    entry = {"name": "disc", "boxes": [{"xyxy": [50, 30, 120, 90]}]}
    (tmp_path / "all.json").write_text(json.dumps({"objects": [entry]}))
    assert run(*command) == 2
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert run(*command, "--overwrite", "--json") == 0
    facts = json.loads((out / "a.png.json").read_text())
    assert facts["prompts"]["objects"][0]["boxes"][0]["xyxy"][0] == 50


def test_a_folder_prints_json_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-i", folder, "-o", tmp_path / "out", "--prompts", tmp_path / "all.json", "--json"]
    assert run(*command, "--no-overlay") == 0
    assert [f["output"] for f in answer("segment", capsys.readouterr().out)] == [
        "a.png",
        "b.png",
        "c.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "mask.png", "--prompts", "all.json"], "a folder as output for the 3 images"),
        (["-o", "images", "--prompts", "all.json"], "other than the input folder"),
        (["-o", "out", "--prompts", "all.json", "--suffix", "xyz"], "a suffix out of"),
        (["-o", "out"], "prompts for the images"),
        (["-o", "disc.png", "--prompts", "all.json"], "a folder"),
    ],
)
def test_folders_that_cannot_be_done_are_refused_at_once(
    folder: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run("-i", folder, *arguments) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_one_bad_image_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.png").write_text("not a 2D image")
    out = tmp_path / "out"
    assert run("-i", folder, "-o", out, "--prompts", tmp_path / "all.json") == 2
    printed = capsys.readouterr()
    assert "error: a.png: expected a readable" in printed.err
    assert "2 segmented, 1 failed" in printed.out
    assert (out / "c.png").exists()


def test_every_image_may_have_prompts_of_its_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"name": "disc", "boxes": [{"xyxy": [60, 30, 120, 90]}]}
    content = {"images": [{"image": n, "objects": [entry]} for n in ("a.png", "c.png")]}
    prompts = tmp_path / "own.json"
    prompts.write_text(json.dumps(content))
    out = tmp_path / "out"
    assert run("-i", folder, "-o", out, "--prompts", prompts, "--no-overlay") == 0
    made = ["a.png", "a.png.json", "c.png", "c.png.json"]
    assert files(out) == [*made, "measurements.csv"]
    content["images"].append({"image": "z.png", "objects": [entry]})
    prompts.write_text(json.dumps(content))
    assert run("-i", folder, "-o", out, "--prompts", prompts) == 2
    assert "no z.png" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_gives_130_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-200, 300, (60, 64, 64)).astype(np.int16)
    nib.save(nib.Nifti1Image(values.T, np.eye(4)), tmp_path / "scan.nii.gz")
    command = [
        *(sys.executable, "-m", "promptseg", "segment", "-i", str(tmp_path / "scan.nii.gz")),
        *("-o", str(tmp_path / "out" / "mask.nii.gz"), "--box", "5,5,60,60@30", "--min-iou", "0"),
        *("--max-growth", "1e9", "--threads", "1"),
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # a test run started in the background of a shell ignores Ctrl-C, and its children with it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr
    process.stderr.readline()  # the note on the modality comes once everything is loaded
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_one_image_options_are_refused_for_folders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-i", folder, "-o", tmp_path / "out", "--mask", folder / "a.png") == 2
    assert "expected one image for --mask" in capsys.readouterr().err
