"""Folders of the user's: every verb removes and replaces files of its own alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from curate.made import Made, disc, make_collection
from fakes import BrightPredictor
from promptseg import assets
from promptseg.cli.main import main
from promptseg.formats.own_folder import LIST
from promptseg.jobs import segment as segment_job
from promptseg.models.cards import CARDS
from promptseg.models.families.sam import build as builders
from promptseg.segment.segmenter import Segmenter
from train.tiny import TINY, build_tiny


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures with masks."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        labels = np.zeros((40, 40), np.uint8)
        labels[5:25, 5:20] = 1
        noise = np.random.default_rng(ord(name)).integers(0, 50, (40, 40))
        for kind, pixels in (("images", noise + labels * 150), ("masks", labels)):
            path = tmp_path / "us" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PilImage.fromarray(pixels.astype(np.uint8)).save(path)
    about = {"name": "us", "modality": "ultrasound", "licence": "CC0", "targets": {"1": "block"}}
    (tmp_path / "us" / "dataset.json").write_text(json.dumps(about))
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def mine(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")


def refused(folder: Path, said: str, capsys: pytest.CaptureFixture[str], *command: Any) -> None:
    before = state(folder)
    code = main([str(word) for word in command])
    err = capsys.readouterr().err
    assert code == 2, err
    assert said in err
    assert state(folder) == before


EVALUATE = ("evaluate", "-i", "us", "-o", "out", "--predictions", "us/masks", "--quiet")


@pytest.mark.parametrize(
    "name", ["plots/a.svg", "parts/cad.json", "tables/t.csv", "failures/x.png", "rows.csv"]
)
def test_a_folder_that_never_was_an_evaluation(
    work: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine(work / "out" / name, work / "out" / "thesis.txt")
    for more in ((), ("--overwrite",)):
        refused(work, name, capsys, *EVALUATE, *more)
    (work / "out" / name).unlink()
    assert main([*EVALUATE, "--overwrite"]) == 0  # what is not in the way is left alone
    assert (work / "out" / "thesis.txt").read_text() == "mine"


def test_somebody_elses_run_json_is_no_evaluation(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "out").mkdir()
    (work / "out" / "run.json").write_text(json.dumps({"request": {}}))
    refused(work, "run.json", capsys, *EVALUATE, "--overwrite")


def test_an_evaluation_keeps_what_others_put_into_its_folders(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EVALUATE]) == 0
    mine(work / "out" / "plots" / "mine.svg", work / "out" / "notes.txt")
    for more in ((), ("--overwrite",), ("--tolerance", "3", "--overwrite")):
        refused(work, "plots/mine.svg", capsys, *EVALUATE, *more)
    (work / "out" / "plots" / "mine.svg").unlink()
    before = state(work / "out")
    assert main([*EVALUATE, "--tolerance", "3", "--overwrite"]) == 0
    after = state(work / "out")
    assert after.keys() == before.keys()
    assert after["run.json"] != before["run.json"]
    assert after["notes.txt"] == b"mine"


@pytest.mark.parametrize("name", ["plots", "parts", "rows.csv", LIST])
def test_a_link_in_the_place_of_ours_is_not_followed(
    work: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EVALUATE]) == 0
    elsewhere = work / "elsewhere"
    (work / "out" / name).rename(elsewhere)
    (work / "out" / name).symlink_to(elsewhere)
    for more in ((), ("--overwrite",), ("--tolerance", "3", "--overwrite")):
        refused(work, name, capsys, *EVALUATE, *more)
    if name == "plots":
        refused(work, "plots", capsys, "report", "out", "--overwrite")


def test_a_report_replaces_tables_of_others_only_when_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EVALUATE]) == 0
    plain = work / "plain"
    plain.mkdir()
    for name in ("rows.csv", "run.json"):
        shutil.copy(work / "out" / name, plain)
    mine(plain / "tables" / "summary.csv")
    refused(work, "tables/summary.csv", capsys, "report", "plain")
    assert main(["report", "plain", "--overwrite"]) == 0
    assert (plain / "tables" / "summary.csv").read_text() != "mine"


CURATE = ("curate", "-i", "us", "-o", "data", "--quiet", "--min-pixels", "1")


@pytest.mark.parametrize("name", ["shards/backup.zip", "parts/cad.json", "summary.md"])
def test_a_curation_keeps_the_files_of_others(
    work: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine(work / "data" / name)
    refused(work, "data", capsys, *CURATE)
    refused(work, name, capsys, *CURATE, "--overwrite")
    (work / "data" / name).unlink()
    assert main([*CURATE, "--overwrite"]) == 0
    (work / "data" / name).unlink(missing_ok=True)
    if name == "summary.md":
        return
    mine(work / "data" / name, work / "data" / "notes.txt")
    for more in ((), ("--seed", "3", "--overwrite")):
        refused(work, name, capsys, *CURATE, *more)
    (work / "data" / name).unlink()
    (work / "us" / "images" / "b.png").unlink()
    (work / "us" / "masks" / "b.png").unlink()
    assert main([*CURATE, "--seed", "3", "--overwrite"]) == 0
    assert (work / "data" / "notes.txt").read_text() == "mine"


def test_a_curation_removes_what_it_made_of_other_data(work: Path) -> None:
    shutil.copytree(work / "us", work / "more")
    about = json.loads((work / "more" / "dataset.json").read_text()) | {"name": "more"}
    (work / "more" / "dataset.json").write_text(json.dumps(about))
    assert main([*CURATE, "-i", "more"]) == 0
    assert main([*CURATE, "--overwrite"]) == 0
    assert [p.name for p in (work / "data" / "shards").iterdir()] == ["us-0000.zip"]
    assert "more" not in (work / "data" / LIST).read_text()


def test_a_curation_of_an_earlier_version_goes_on(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*CURATE]) == 0
    before = state(work / "data")
    (work / "data" / LIST).unlink()
    assert main([*CURATE]) == 0
    assert state(work / "data").keys() == before.keys()
    (work / "data" / LIST).unlink()
    mine(work / "data" / "shards" / "backup.zip")
    refused(work / "data" / "shards", "shards/backup.zip", capsys, *CURATE)


def test_a_curation_does_not_write_over_the_list_it_reads(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*CURATE]) == 0
    (work / "data" / "held_out.txt").write_text("us/b\n")
    more = ("--held-out", "data/held_out.txt", "--overwrite")
    refused(work, "held_out.txt, which is read", capsys, *CURATE, *more)


def test_a_link_in_the_place_of_a_collections_folder(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*CURATE]) == 0
    (work / "data" / "shards").rename(work / "elsewhere")
    (work / "data" / "shards").symlink_to(work / "elsewhere")
    for more in ((), ("--seed", "3", "--overwrite")):
        refused(work, "shards", capsys, *CURATE, *more)


@pytest.mark.parametrize(
    ("action", "name"), [("statistics", "statistics.csv"), ("check", "preflight.md")]
)
def test_reports_on_a_collection_replace_only_their_own(
    work: Path, action: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Made(f"us/{k}", {"disc": disc((60, 60), 30, 30, 9)}, modality="US") for k in range(2)]
    make_collection(work / "collection", made)
    command = ["curate", action, "collection", "-o", "out"]
    command += ["--no-measure", "--quiet"] if action == "check" else []
    mine(work / "out" / name)
    refused(work, name, capsys, *command)
    (work / "out" / name).unlink()
    codes = [main(command) for _ in range(2)]
    assert codes[0] == codes[1]
    assert (work / "out" / name).exists()


@pytest.fixture
def tiny(work: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(CARDS, "tiny", TINY)
    monkeypatch.setattr(builders, "build_tiny", build_tiny, raising=False)
    torch.save(build_tiny().state_dict(), work / "start.pth")
    return "tiny=start.pth"


def test_an_export_replaces_exports_alone(
    work: Path, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    command = ["export", "--format", "openvino", "--quiet", "-o", "out", "--model"]
    mine(work / "out" / "card.json", work / "out" / "reference.npz")  # names like ours
    refused(work, "card.json", capsys, *command, tiny, "--overwrite")
    shutil.rmtree(work / "out")
    assert main([*command, tiny]) == 0
    before = state(work / "out").keys()
    assert main([*command, tiny, "--overwrite"]) == 0
    assert state(work / "out").keys() == before
    mine(work / "out" / "notes.txt")
    refused(work, "notes.txt", capsys, *command, tiny, "--overwrite")
    (work / "out" / "notes.txt").unlink()
    (work / "out" / "encoder.bin").unlink()
    (work / "out" / "encoder.bin").hardlink_to(work / "start.pth")
    for model in (tiny, "tiny=out/encoder.bin"):
        refused(work, "which is read", capsys, *command, model, "--overwrite")
    (work / "out" / "encoder.bin").unlink()
    (work / "out" / "encoder.bin").symlink_to(work / "us" / "dataset.json")
    refused(work, "encoder.bin", capsys, *command, tiny, "--overwrite")


def test_a_second_demo_replaces_the_first_and_nothing_else(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voxels = np.full((11, 400, 400), 10, np.int16)
    voxels[:, 200:370, 100:270] = 200
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), work / "ct.nii.gz")
    monkeypatch.setattr(assets, "find", lambda *_: work / "ct.nii.gz")
    monkeypatch.setattr(assets, "fetch", lambda *_: work / "ct.nii.gz")
    monkeypatch.setattr(segment_job, "load", lambda *_, **__: Segmenter(BrightPredictor()))
    mine(work / "demo" / "mask.nii.gz.json")
    refused(work, "mask.nii.gz.json", capsys, "demo")
    (work / "demo" / "mask.nii.gz.json").unlink()
    for _ in range(2):
        assert main(["demo"]) == 0
    assert len(state(work / "demo")) == 4
