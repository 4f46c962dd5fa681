"""Exports that the official code of a model loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from architectures import build_as
from promptseg.errors import ModelError, OutputError
from promptseg.jobs.export import export_model
from promptseg.models.cards import CARDS
from promptseg.models.families.sam2.build import SHAPES
from promptseg.models.official import official_content
from small_memory_sam import small_memory_sam
from small_sam2 import SHAPE, small_sam2
from train.official import loaded_strictly


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Weights of a small SAM 2 as a training leaves them."""
    monkeypatch.setitem(CARDS, "small2", replace(CARDS["sam2.1-t"], name="small2", build="small2"))
    build_as(monkeypatch, SHAPES, {"small2": SHAPE})
    path = tmp_path / "mine.safetensors"
    save_file(small_sam2().state_dict(), path)
    return path


def test_a_sam_2_comes_in_the_official_wrapping(weights: Path, tmp_path: Path) -> None:
    card = export_model(f"small2={weights}", tmp_path / "out", "official")
    content = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    assert list(content) == ["model"]
    own = small_sam2().state_dict()
    assert content["model"].keys() == own.keys()
    assert all(torch.equal(content["model"][k], v) for k, v in own.items())
    assert json.loads((tmp_path / "out" / "card.json").read_text()) == card
    assert (card["format"], card["model"]) == ("official", "small2")
    with pytest.raises(OutputError, match="exists"):
        export_model(f"small2={weights}", tmp_path / "out", "official")
    export_model(f"small2={weights}", tmp_path / "out", "official", overwrite=True)


@pytest.mark.peer
def test_the_official_code_loads_it(weights: Path, tmp_path: Path) -> None:
    export_model(f"small2={weights}", tmp_path / "out", "official")
    found = loaded_strictly(tmp_path / "out" / "model.pt")
    assert all(torch.equal(found[k], v) for k, v in small_sam2().state_dict().items())


def test_what_no_official_code_knows_is_refused() -> None:
    network = small_memory_sam()
    with pytest.raises(ModelError, match="whose official code loads files"):
        official_content(network.state_dict(), CARDS["promptseg-memory"])
    with pytest.raises(ModelError, match="sam3 of sam3"):
        official_content({}, CARDS["sam3"])


def test_mobile_sams_code_finds_its_classifier() -> None:
    mobile = official_content({"a": torch.ones(1)}, CARDS["mobile-sam"])
    assert mobile["image_encoder.head.weight"].shape == (1000, 320)
