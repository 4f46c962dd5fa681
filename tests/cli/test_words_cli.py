"""`promptseg segment --text` and `promptseg models --words`, with a small SAM 3 of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from architectures import build_as
from fakes import BrightPredictor
from json_answers import answer
from promptseg.cli.main import main
from promptseg.models.cards import CARDS
from promptseg.models.families.sam3 import model as sam3
from promptseg.models.families.sam3.build import SHAPES
from promptseg.segment.segmenter import Segmenter
from small_sam3 import SHAPE, small_sam3, small_words

pytest.importorskip("transformers")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """NAME=FILE of Medical SAM3 at a small size."""
    card = CARDS["medical-sam3"]
    small = replace(card, preprocessing=replace(card.preprocessing, size=SHAPE.image_size))
    monkeypatch.setitem(CARDS, card.name, small)
    build_as(monkeypatch, SHAPES, {"sam3": SHAPE, "sam3-504": replace(SHAPE, image_size=56)})
    tokens = small_words(tmp_path)
    monkeypatch.setattr(sam3, "words_table", lambda: tokens)
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROMPTSEG_AGREE", "SAM License")
    path = tmp_path / "checkpoint_2D.pt"
    torch.save(small_sam3().state_dict(), path)
    return f"medical-sam3={path}"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    PilImage.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)).save(path)
    return path


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def facts_of(mask: Path) -> Any:
    return json.loads(mask.with_name(mask.name + ".json").read_text())


def test_phrases_become_objects_with_code_and_score(
    weights: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (
        "segment",
        "-i",
        picture,
        "--modality",
        "endoscopy",
        "--no-overlay",
        "--min-score",
        "0",
    )
    more = ("--text", "Polyps", "--text", "liver lesion [+5,5,30,30]=mine", "--model", weights)
    assert run(*given, "-o", tmp_path / "m.png", *more, "--overlap", "later-wins") == 0
    said = capsys.readouterr()
    assert "score 0." in said.out
    assert "untested with real ones" in said.err
    assert "'liver lesion' is far from the words that medical-sam3" in said.err
    assert "'Polyps' is far" not in said.err
    facts = facts_of(tmp_path / "m.png")
    assert [entry["name"] for entry in facts["objects"]] == ["Polyps", "mine"]
    assert facts["objects"][1]["words"]["code"] == "52988006"
    assert facts["prompts"]["objects"][1]["text"] == "liver lesion [+5,5,30,30@0]"
    replay = ("segment", "--replay", tmp_path / "m.png.json", "-o", tmp_path / "again.png")
    assert run(*replay) == 0
    assert "the same masks, bit for bit" in capsys.readouterr().out


def test_nothing_found_is_an_empty_layer_and_said(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "m.nii.gz"
    values = np.random.default_rng(0).integers(0, 200, (30, 40, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), scan)
    given = ("segment", "-i", scan, "-o", out, "--modality", "MR", "--model", weights)
    assert run(*given, "--text", "liver", "--min-score", "0.999") == 0
    said = capsys.readouterr()
    assert "nothing was found for 'liver' (highest score 0." in said.err
    assert "1 liver: " in said.out
    assert "nothing found" in said.out
    assert not np.asarray(nib.load(out).dataobj).any()
    (entry,) = facts_of(out)["objects"]
    assert [k for k, _ in entry["words"]["scores"]] == [0, 1, 2]
    assert all(0 < presence < 1 for _, presence in entry["words"]["presence"])


@pytest.mark.parametrize(
    ("phrase", "modality", "said"),
    [
        (
            "linke Niere",
            "US",
            "'linke Niere' is German: medical-sam3 reads English (nearest known: 'left",
        ),
        ("печень", "US", "'печень' is not English: medical-sam3 reads English"),
        ("polyp", "US", "knows 'polyp' from endoscopy, and this is US"),
        ("polyp", "endoscopy", ""),
    ],
)
def test_words_that_may_mean_little_are_said_and_passed_on(
    phrase: str,
    modality: str,
    said: str,
    weights: str,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ("segment", "-i", picture, "-o", tmp_path / "m.png", "--modality", modality)
    assert run(*given, "--no-overlay", "--model", weights, "--text", phrase) == 0
    err = capsys.readouterr().err
    warned = [line for line in err.splitlines() if "reads English" in line or "knows" in line]
    assert len(warned) == bool(said)
    assert said in err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--text", ""), "a phrase, such as liver"),
        (("--text", "left right kidney"), "one side, got left and right"),
        (("--text", "liver", "--box", "1,1,9,9"), "both in one run"),
        (("--text", "liver", "--model", "mobile-sam"), "got a text; use --model promptseg-words"),
        (("--text", "liver", "--model", "sam3.1"), "SAM 3.1, whose tracker"),
        (("--text", "liver", "--min-score", "1.5"), "--min-score from 0 to 1"),
    ],
)
def test_bad_words_are_one_clear_error(
    given: tuple[str, ...],
    said: str,
    weights: str,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "mobile-sam" in given:
        monkeypatch.setattr(
            "promptseg.jobs.segment.load_for",
            lambda job: Segmenter(BrightPredictor(card=job.model)),
        )
    model = () if "--model" in given else ("--model", weights)
    out = tmp_path / "m.png"
    assert run("segment", "-i", picture, "-o", out, "--modality", "US", *given, *model) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not out.exists()


def test_a_model_says_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "medical-sam3", "--words") == 0
    said = capsys.readouterr().out
    assert "medical-sam3 takes any words" in said
    assert "skin lesion" in said
    assert "SNOMED CT 52988006" in said
    assert run("models", "--words", "--json") == 0
    found = answer("models", capsys.readouterr().out)
    assert {"word": "polyp", "code": None} in found["medical-sam3"]
    assert found["sam3"] == []
    assert run("models", "medsam2", "--words") == 2
    assert "a model that takes words, such as promptseg-words" in capsys.readouterr().err
    assert run("models", "sam3") == 0
    assert capsys.readouterr().out.startswith("sam3\n")
