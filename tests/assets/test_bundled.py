"""The weights that the package brings: no network, damage and halves said, every engine the same."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

import promptseg
from promptseg.assets import store
from promptseg.cli.main import main
from promptseg.runtime.engines import engine_named
from promptseg.runtime.names import ENGINES

FILE = "promptseg_lite.safetensors"
BOX = ("--model", "promptseg-lite", "--box", "24,24,72,72", "--engine", "eager")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A bright disc."""
    y, x = np.ogrid[:96, :96]
    values = np.where(np.hypot(x - 48, y - 48) < 24, 210, 40).astype(np.uint8)
    PilImage.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder in the package, which may be damaged."""
    shutil.copytree(store._BUNDLED, tmp_path / "bundled")
    monkeypatch.setattr(store, "_BUNDLED", tmp_path / "bundled")
    return tmp_path / "bundled"


def test_a_box_is_answered_without_network_or_cache(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setattr(socket.socket, "connect", nobody)
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    assert main(["segment", "-i", str(picture), "-o", str(tmp_path / "m.png"), *BOX]) == 0
    mask = np.asarray(PilImage.open(tmp_path / "m.png")) > 0
    y, x = np.ogrid[:96, :96]
    disc = np.hypot(x - 48, y - 48) < 24
    assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.9


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_or_half_installed_package_is_said(
    package: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = package / FILE
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    assert main(["segment", "-i", str(picture), "-o", str(tmp_path / "m.png"), *BOX]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "promptseg" in said
    assert "install" in said
    assert not (tmp_path / "m.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [e for e in ENGINES if e not in ("eager", "compile")])
def test_engines_give_the_masks_of_eager(name: str, picture: Path) -> None:
    engine = engine_named(name)
    if engine.missing(torch.device("cpu")) or "compile" in name:
        pytest.skip(f"{name} does not run on this machine, or only for a GPU")
    image = promptseg.read(picture)
    click = promptseg.Points(((48.0, 48.0),), (1,))
    box = promptseg.Box((22, 22, 74, 74))
    masks = {}
    for one in ("eager", name):
        segmenter = promptseg.load("promptseg-lite", engine=one, threads=1)
        masks[one] = [segmenter.segment(image, p).labels() > 0 for p in (click, box)]
    for exact, found in zip(masks["eager"], masks[name], strict=True):
        assert 2 * (exact & found).sum() / (exact.sum() + found.sum()) > 0.98
