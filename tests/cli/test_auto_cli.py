"""`--model auto` and `promptseg models --recommend`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

import promptseg
from json_answers import answer
from promptseg.cli.main import main

pytestmark = pytest.mark.weights


@pytest.fixture(autouse=True)
def _lite_medsam_alone(
    lite_medsam_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of one model at hand, so that the choice is known."""
    home = tmp_path / "home"
    home.mkdir()
    (home / lite_medsam_weights.name).symlink_to(lite_medsam_weights)
    monkeypatch.setenv("PROMPTSEG_HOME", str(home))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two discs."""
    y, x = np.indices((120, 160))
    folder = tmp_path / "in"
    folder.mkdir()
    for name, column in (("a", 90), ("b", 85)):
        values = (60 + x / 4).astype(np.uint8)
        values[(x - column) ** 2 + (y - 60) ** 2 < 30**2] = 220
        PilImage.fromarray(values).save(folder / f"{name}.png")
    return folder


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def test_the_choice_is_said_recorded_and_replayed(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, again = tmp_path / "m.png", tmp_path / "again.png"
    given = ("segment", "-i", pictures / "a.png", "--modality", "US", "--no-overlay")
    assert run(*given, "-o", out, "--box", "60,30,120,90", "--model", "auto") == 0
    assert "auto chose lite-medsam: the only model at hand" in capsys.readouterr().err
    facts = json.loads(out.with_suffix(".png.json").read_text())
    assert facts["model"]["name"] == facts["command"]["model"] == "lite-medsam"
    chosen = facts["model"]["chosen"]
    assert (chosen["by"], chosen["modality"], chosen["prompts"]) == ("auto", "US", ["box"])
    assert chosen["evidence"][0]["model"] == "lite-medsam"
    assert run("segment", "--replay", out.with_suffix(".png.json"), "-o", again) == 0
    assert "the same masks, bit for bit" in capsys.readouterr().out
    assert "chosen" not in json.loads(again.with_suffix(".png.json").read_text())["model"]


def test_a_folder_is_segmented_with_one_model_and_resumed(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("-i", pictures, "-o", tmp_path / "out", "--box", "60,30,120,90", "--model", "auto")
    assert run("segment", *given) == 0
    assert capsys.readouterr().err.count("auto chose") == 1
    facts = json.loads((tmp_path / "out" / "b.png.json").read_text())
    assert facts["request"]["model"] == "lite-medsam"
    assert facts["model"]["chosen"]["by"] == "auto"
    assert run("segment", *given) == 0
    assert "2 images, 2 done already" in capsys.readouterr().out


def test_a_model_is_loaded_by_evidence_from_python() -> None:
    segmenter = promptseg.load("auto", modality="CT")
    assert segmenter.predictor.card.name == "lite-medsam"
    assert segmenter.predictor.choice is not None
    assert segmenter.predictor.choice.modality == "CT"


def test_the_recommendation_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--recommend", "--modality", "CT") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("lite-medsam: the only model at hand that takes box prompts")
    assert "quartiles" in printed
    assert run("models", "--recommend", "--json") == 0
    assert answer("models", capsys.readouterr().out)["model"] == "lite-medsam"
    assert run("models", "--recommend", "--modality", "sonar") == 2
    assert "expected a modality out of" in capsys.readouterr().err
