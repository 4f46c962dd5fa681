"""The commands of README, start and tutorials do what they say, one after the other, on made data.

A model that finds what is bright, or a tiny SAM with random weights, takes the place of a real one. A
block below `<!-- not run: REASON -->` is left out.
"""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from docs_pictures import phantom
from PIL import Image as PilImage

from fakes import BrightPredictor
from formats.helpers import write_dicom_series
from promptseg.cli.main import main
from promptseg.inference.predictor import Predictor
from test_docs import tiny, workplace  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>.+?) -->\n)?^```bash\n(?P<text>.*?)^```", re.M | re.S)
FILES = {"cp", "mkdir"}
INSTALLS = ("make ", "python3 -m venv", ".venv/bin/python", "source")
NEVER_HERE = (*INSTALLS, "promptseg serve", "promptseg demo", "promptseg loop")  # these are parsed


def lines_to_run(page: str) -> list[list[str]]:
    """The words of every command of a page that is to be run; `page` is a path below the root."""
    text = (ROOT / page).read_text("utf-8")
    found = []
    for block in BLOCK.finditer(text):
        if block["why"] is None:
            for line in block["text"].replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    if not part.startswith(NEVER_HERE):
                        found.append(shlex.split(part, comments=True))
    return [words for words in found if words]


def run_page(page: str, monkeypatch: pytest.MonkeyPatch, *but: str) -> int:
    """Run all of it in the present folder but lines with certain words; any exit code but 0 fails.

    Returns:
        How many lines were run.
    """
    lines = [w for w in lines_to_run(page) if not any(one in " ".join(w) for one in but)]
    for words in lines:
        if words[0] == "promptseg":
            assert main(words[1:]) == 0, " ".join(words)
        elif words[0] == "python":
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", [words[1], *words[2:]])
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        else:
            assert words[0] in FILES, (
                f"{words[0]} in {page}: run it here, or mark its block 'not run'"
            )
            subprocess.run(words, check=True)
    return len(lines)


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CT series where the demo leaves one, and a model that finds what is bright."""
    values = np.zeros((20, 400, 410), np.int16)
    values[8:16, 200:350, 110:260] = 100  # HU
    values[8:16, 250:370, 300:390] = 100
    write_dicom_series(tmp_path / "demo" / "ct", np.diag([1.0, 1.0, 3.0]), stored=values + 1024)
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: BrightPredictor(card="mobile-sam"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_dicom(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page("docs/tutorials/dicom.md", monkeypatch)
    image = pydicom.dcmread(next((scan / "demo" / "ct").iterdir()))
    for name in ("liver_seg.dcm", "liver.rtstruct.dcm", "again_seg.dcm"):
        assert pydicom.dcmread(scan / name).StudyInstanceUID == image.StudyInstanceUID
    voxels = int((np.asarray(nib.load(scan / "liver.nii.gz").dataobj) == 1).sum())
    again = pydicom.dcmread(scan / "again_seg.dcm")
    assert int(np.asarray(again.pixel_array).sum()) == voxels == 8 * 150 * 150


def test_readme(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # words have tests of their own, with images on which there is what is looked for
    run_page("README.md", monkeypatch, "promptseg-words")
    names = {
        "scan.png",
        "liver.nii.gz",
        "liver.nii.gz.overlay.png",
        "liver_seg.dcm",
        "better.nii.gz",
    }
    assert names <= {path.name for path in scan.iterdir()}


def test_start(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scan", "phantom"):
        saved = nib.Nifti1Image(phantom().T, np.diag([-2.0, -2.0, 5.0, 1.0]))
        nib.save(saved, scan / f"{name}.nii.gz")
    run_page("docs/start.md", monkeypatch)
    assert (scan / "better.nii.gz").exists()


def test_commands_by_task(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line for an image; the others need data sets, trainings and exports, which have tests."""
    values = np.zeros((20, 400, 410), np.int16)
    values[8:16, 200:350, 110:260] = values[8:16, 250:370, 300:390] = 100
    (scan / "cases").mkdir()
    for path in ("scan.nii.gz", "cases/a.nii.gz", "cases/b.nii.gz"):
        nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 3.0, 1.0])), scan / path)
    picture = np.full((400, 410), 40, np.uint8)
    picture[90:250, 130:250] = 220
    PilImage.fromarray(picture).save(scan / "polyp.jpg")
    box = {"name": "liver", "boxes": [{"xyxy": [98, 190, 272, 372], "slice": 10}]}
    (scan / "prompts.json").write_text(json.dumps({"objects": [box]}), "utf-8")
    needs_more = ("DATASET", "data/", "runs/", "cases.csv", "lines.nii.gz", "embed", "before/")
    kinds = ("export", "eval ", "assets")
    assert run_page("docs/commands.md", monkeypatch, *needs_more, *kinds) >= 10
    labels = np.asarray(nib.load(scan / "labels.nii.gz").dataobj)
    assert np.array_equal(labels, np.asarray(nib.load(scan / "liver.nii.gz").dataobj))
    assert (scan / "masks" / "measurements.csv").read_text("utf-8").count("liver") == 2


def test_slicer(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page("docs/tutorials/slicer.md", monkeypatch)
    names = {s.SegmentLabel for s in pydicom.dcmread(scan / "organs.dcm").SegmentSequence}
    assert names == {"liver", "spleen"}


def test_annotate(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(scan / "demo" / "ct", scan / "cases" / "ct")
    box = ["--box", "98,190,272,372@10=liver"]
    saved = str(scan / "cases" / "ct_labels.nii.gz")  # as the page does
    assert main(["segment", "-i", "cases/ct", "-o", saved, *box, "--quiet"]) == 0
    run_page("docs/tutorials/annotate.md", monkeypatch)
    assert (scan / "ct_labels.dcm").exists()
    assert (scan / "ct_labels.seg.nrrd").exists()


def test_evaluate(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run_page("docs/tutorials/evaluate.md", monkeypatch)
    with (tiny / "theirs_results" / "rows.csv").open(encoding="utf-8", newline="") as file:
        assert {float(row["dsc"]) for row in csv.DictReader(file)} == {1.0}
    assert (tiny / "compared" / "comparison.html").exists()


@pytest.mark.slow
def test_finetune(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run_page("docs/tutorials/finetune.md", monkeypatch)
    assert (tiny / "runs" / "mine" / "report.md").exists()
    assert (tiny / "p05.png").exists()


def test_what_is_not_run_says_why() -> None:
    for page in TUTORIALS.glob("*.md"):
        text = page.read_text("utf-8")
        assert text.count("<!-- not run:") == len(re.findall(r"<!-- not run: .+ -->\n```", text))


@pytest.mark.parametrize("page", sorted(TUTORIALS.glob("*.md")), ids=lambda p: p.name)
def test_every_tutorial_has_its_parts(page: Path) -> None:
    parts = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.M)
    assert parts[0] == "What you need"
    assert parts[-3:] == ["What comes out", "When it goes wrong", "From here"]
