"""Folders that a verb has filled: no other verb goes on there, or removes or replaces its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from promptseg.cli.main import main
from promptseg.formats.own_folder import LIST

_TRAINING = ("last.pt", "options.json", "model.pth", "model.safetensors", "card.json", "report.md")


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


def filled(folder: Path, *names: str) -> Path:
    """A folder with a list as versions without marks left it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"precious {name}")
    (folder / LIST).write_text("".join(f"\n{json.dumps(name)}\n" for name in names))
    return folder


def unmarked(folder: Path) -> Path:
    """The same of a folder of this version."""
    lines = (folder / LIST).read_text().splitlines()
    (folder / LIST).write_text("\n".join(line for line in lines if "{" not in line) + "\n")
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def test_a_curation_leaves_the_folder_of_a_training(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(filled(Path("run"), *_TRAINING), "promptseg train", capsys, *CURATE, "run")


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
