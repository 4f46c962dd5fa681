"""Folders that a verb has filled: no other verb goes on there, or removes or replaces its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from promptseg import assets
from promptseg.cli import demo
from promptseg.cli.main import main
from promptseg.curate.options import CurateJob
from promptseg.errors import OutputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.evaluate.two_runs import CompareOptions, compare_runs
from promptseg.formats.own_folder import LIST
from promptseg.jobs.curate import curate
from promptseg.jobs.evaluate import evaluate
from promptseg.jobs.video import segment_video
from promptseg.segment.options import SegmentJob
from verb_folders import assert_leaves_others, filled, state, unmarked


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


def refused(folder: Path, of: str, capsys: pytest.CaptureFixture[str], *command: Any) -> None:
    before = state(folder)
    for more in ((), ("--overwrite",)):
        code = main([*map(str, command), *more])
        err = capsys.readouterr().err
        assert code == 2, err
        assert f"{folder} of {of}, which wrote" in err
        assert state(folder) == before


CURATE = ("curate", "-i", "us", "--quiet", "--min-pixels", "1", "-o")
EVALUATE = ("evaluate", "-i", "us", "--predictions", "us/masks", "--quiet", "-o")


def test_a_curation_leaves_the_folders_of_other_verbs(work: Path) -> None:
    def act(folder: Path, overwrite: bool) -> None:
        curate(CurateJob(input=(Path("us"),), output=folder, overwrite=overwrite, quiet=True))

    assert_leaves_others(work, "curate", act)


def test_a_curation_leaves_the_results_of_an_evaluation(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EVALUATE, "out"]) == 0
    refused(Path("out"), "promptseg evaluate", capsys, *CURATE, "out")
    refused(unmarked(Path("out")), "promptseg evaluate", capsys, *CURATE, "out")
    for path in [path for path in Path("out").rglob("*") if path.is_file() and path.name != LIST]:
        path.unlink()
    assert main([*CURATE, "out"]) == 0  # nothing of value was left


def test_a_curation_removes_what_curations_write_alone(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(filled(Path("film"), "masks.mkv"), "another command", capsys, *CURATE, "film")
    assert main([*CURATE, "data"]) == 0
    with (Path("data") / LIST).open("a") as stream:  # as something else listed it
        stream.write('"masks.mkv"\n"shards/old-0000.zip"\n')
    (Path("data") / "masks.mkv").write_text("precious")
    (Path("data") / "shards" / "old-0000.zip").write_text("old")
    assert main([*CURATE, "data", "--seed", "3", "--overwrite"]) == 0
    assert (Path("data") / "masks.mkv").read_text() == "precious"
    assert not (Path("data") / "shards" / "old-0000.zip").exists()


def test_a_curation_goes_on_without_a_mark_and_beside_its_reports(work: Path) -> None:
    assert main([*CURATE, "data"]) == 0
    before = state(unmarked(Path("data")))
    assert main([*CURATE, "data"]) == 0
    after = state(Path("data"))
    assert '{"verb": "curate"}' in after.pop(LIST).decode()
    assert after == {name: content for name, content in before.items() if name != LIST}
    assert main(["curate", "statistics", "data", "-o", "data"]) == 0
    assert main([*CURATE, "data", "--seed", "3", "--overwrite"]) == 0
    assert (Path("data") / "statistics.csv").exists()


def test_an_evaluation_leaves_the_folders_of_other_verbs(work: Path) -> None:
    def act(folder: Path, overwrite: bool, seeds: int = 1) -> None:
        predictions = Path("us/masks")
        how: dict[str, Any] = {"predictions": predictions, "seeds": seeds, "overwrite": overwrite}
        evaluate(EvaluateJob(input=Path("us"), output=folder, quiet=True, **how))

    assert_leaves_others(work / "one", "evaluate", act)
    folder = filled(work / "train", "options.json", "seeds.csv", mark="train --seeds")
    before = state(folder)
    for seeds in (1, 2):
        with pytest.raises(OutputError, match="of promptseg train --seeds, which wrote"):
            act(folder, True, seeds)
    assert state(folder) == before


def test_an_evaluation_without_a_mark_goes_on_and_is_joined(work: Path) -> None:
    assert main([*EVALUATE, "out"]) == 0
    before = state(unmarked(Path("out")))
    assert main([*EVALUATE, "out", "--predictions-name", "other"]) == 0
    after = state(Path("out"))
    assert after.keys() > before.keys()
    assert b"other" in after["rows.csv"]
    assert b"masks" in after["rows.csv"]


def test_a_comparison_leaves_the_folders_of_other_verbs(work: Path) -> None:
    for name in ("first", "second"):
        assert main([*EVALUATE, name]) == 0

    def act(folder: Path, overwrite: bool) -> None:
        how = CompareOptions(overwrite=overwrite, resamples=100)
        compare_runs(Path("first"), Path("second"), folder, how)

    others = work / "others"
    assert_leaves_others(others, "evaluate compare", act)
    with pytest.raises(OutputError, match="of promptseg evaluate, which wrote"):
        act(Path("first"), True)


def test_a_video_leaves_the_folders_of_other_verbs(tmp_path: Path) -> None:
    def act(folder: Path, overwrite: bool) -> None:
        box = ("2,2,9,9@0=tool",)
        job = SegmentJob(input=tmp_path / "film.mkv", output=folder, box=box, overwrite=overwrite)
        segment_video(job)

    assert_leaves_others(tmp_path, "segment", act)


def test_the_demo_leaves_the_folders_of_other_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "find", lambda *_: tmp_path / "ct.nii.gz")
    monkeypatch.setattr(assets, "fetch", lambda *_: tmp_path / "ct.nii.gz")
    assert_leaves_others(tmp_path, "demo", lambda at, _: demo.run(["-o", str(at)]))
