"""What readers note of cases reaches the results: by case, counted, in the report; --strict refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.curate.options import CurateJob
from promptseg.datasets.collection import Collection
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.jobs import image_task
from promptseg.jobs import segment as segment_job
from promptseg.jobs.curate import curate
from promptseg.jobs.evaluate import evaluate
from promptseg.noted import counted, lines_of, refuse
from promptseg.segment.segmenter import Segmenter
from promptseg.train.outcome import noted_in

CASES = ("a", "b", "c")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three volumes; the labels of two are a rounding away from integers, which is noted."""
    folder = tmp_path / "data" / "ct__blocks"
    folder.mkdir(parents=True)
    values = np.full((4, 40, 40), 10, np.int16)
    values[:, 10:30, 10:30] = 200
    values[1:, 0, 0] = 1, 2, 3  # no two slices alike
    for number, name in enumerate(CASES):
        image = values.copy()
        image[0, 1, 1] = number
        nib.save(nib.Nifti1Image(image.T, np.eye(4)), folder / f"{name}_image.nii.gz")
        labels = (values > 100).astype(np.float32) * (1 if name == "b" else np.float32(1.0002))
        nib.save(nib.Nifti1Image(labels.T, np.eye(4)), folder / f"{name}_label.nii.gz")
    content = {"name": "blocks", "modality": "CT", "licence": "CC0", "targets": {"1": "block"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def noted(folder: Path) -> list[str]:
    with (folder / "notes.csv").open(newline="", encoding="utf-8") as stream:
        return [row["case"] for row in csv.DictReader(stream)]


def test_evaluate(data: Path, tmp_path: Path) -> None:
    def run(**changes: object) -> list[str]:
        options = {
            "input": data.parent,
            "output": tmp_path / "out",
            "model": ("mobile-sam",),
            "window": "128/64",
        }
        job = EvaluateJob(**{**options, "quiet": True, **changes})  # type: ignore[arg-type]
        return evaluate(job, {"mobile-sam": BrightPredictor(card="mobile-sam")}).summary()

    summary = run()
    assert sum(line.startswith("note: 2 cases: ") for line in summary) == 1
    assert sorted(noted(tmp_path / "out")) == ["a", "c"]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(facts["notes"].values()) == [2]
    note = next(iter(facts["notes"]))
    assert note[:20] in (tmp_path / "out" / "report.html").read_text()
    assert run() == summary  # nothing is done again, and nothing forgotten
    with pytest.raises(InputError, match="as --strict asks"):
        run(strict=True)
    with pytest.raises(InputError, match="as --strict asks, got a: "):
        run(strict=True, output=tmp_path / "strict")


def test_curate_and_what_is_trained_on_it(data: Path, tmp_path: Path) -> None:
    def run(output: str = "out", **changes: object) -> Collection:
        options = {"input": (data,), "output": tmp_path / output, "quiet": True, **changes}
        return curate(CurateJob(**options))  # type: ignore[arg-type]

    collection = run()
    assert sorted(noted(tmp_path / "out")) == ["a", "c"]
    assert list(noted_in(collection).values()) == [2]
    assert "- 2 cases: " in (tmp_path / "out" / "summary.md").read_text()
    assert list(noted_in(run()).values()) == [2]  # parts that are done already
    with pytest.raises(InputError, match="as --strict asks"):
        run(strict=True)
    with pytest.raises(InputError, match="as --strict asks"):
        run("strict", strict=True)


def test_segment(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = Segmenter(BrightPredictor())
    monkeypatch.setattr(segment_job, "load", lambda *_, **__: segmenter)
    monkeypatch.setattr(image_task, "load_for", lambda _: segmenter)
    images = tmp_path / "images"
    images.mkdir()
    for name in CASES:
        (data / f"{name}_image.nii.gz").rename(images / f"{name}.nii.gz")
    box = ["--box", "8,8,32,32@1=block"]
    command = ["segment", "-i", str(images), "-o", str(tmp_path / "out"), *box]
    assert main(command) == 0
    assert "note: 3 images: the file does not say its modality" in capsys.readouterr().out
    assert main([*command, "--strict"]) == 2  # of results that are there
    assert "as --strict asks, got a.nii.gz: " in capsys.readouterr().err
    command = ["segment", "-i", str(images / "a.nii.gz"), "-o", str(tmp_path / "a.nii.gz"), *box]
    assert main([*command, "--strict"]) == 2
    assert not (tmp_path / "a.nii.gz").exists()
    assert main([*command, "--strict", "--modality", "CT", "--no-overlay"]) == 0


def test_notes_are_counted_and_the_first_of_many_shown() -> None:
    notes = [*"aab", *map(str, range(20))]
    assert list(counted(notes).items())[:2] == [("a", 2), ("0", 1)]
    lines = lines_of(counted(notes), "image")
    assert lines[0] == "2 images: a"
    assert lines[1] == "1 image: 0"
    assert lines[-1] == "and 14 other notes"
    refuse([], "scan")
    with pytest.raises(InputError, match="got scan: first and 1 more"):
        refuse(["first", "second"], "scan")
