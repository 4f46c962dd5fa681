"""What was found while the machine was in trouble does not stick; an engine asked for is never dropped
without a word."""

from __future__ import annotations

import errno
import logging
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fakes import BrightPredictor
from promptseg.image import Image
from promptseg.prompts import Box
from promptseg.runtime import choose, trouble
from promptseg.runtime.choose import AUTO, Trial, Verdict, choose_engine, remembered
from promptseg.runtime.compiled import CompiledStore
from promptseg.runtime.engines import Compiled, CompileError, Eager, Part
from promptseg.runtime.rewrite import prepare
from promptseg.segment.segmenter import Segmenter
from runtime.small import tiny

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_home")


class Failing(Eager):
    """An engine that fails as long as something is wrong with the machine."""

    causes: tuple[BaseException, ...] = ()

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        for cause in self.causes:
            if isinstance(cause, MemoryError):
                raise cause
            raise CompileError("a part it takes", "something in its own words") from cause
        return super().compile(part, threads, streams)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    monkeypatch.setattr(choose, "candidates", lambda _: ["eager", "openvino"])
    monkeypatch.setattr(
        choose, "engine_named", lambda name: Eager() if name == "eager" else Failing(name)
    )
    monkeypatch.setattr(choose, "_WORTH", 1e9)  # whatever runs is quick enough
    monkeypatch.setattr(trouble, "available_bytes", lambda: 1 << 40)
    monkeypatch.setattr(trouble, "_SPARE", 0)
    return Failing


TROUBLES = [
    OSError(errno.ENOSPC, "No space left on device"),
    PermissionError(errno.EACCES, "Permission denied"),
    MemoryError(),
    torch.OutOfMemoryError("out of memory"),
    subprocess.TimeoutExpired("cc", 120),
    subprocess.CalledProcessError(-9, "cc"),
]


@pytest.mark.parametrize("cause", TROUBLES, ids=lambda cause: type(cause).__name__)
def test_a_verdict_made_in_trouble_is_not_kept(
    engine: type[Failing], monkeypatch: pytest.MonkeyPatch, cause: BaseException
) -> None:
    network = prepare(tiny(), CPU)
    monkeypatch.setattr(engine, "causes", (cause,))
    runner, verdict = choose_engine(network, CPU, 1, "small", "abc", AUTO)
    assert runner.engine.name == "eager"
    assert not verdict.lasts
    assert remembered() == {}
    monkeypatch.setattr(engine, "causes", ())
    runner, verdict = choose_engine(network, CPU, 1, "small", "abc", AUTO)
    assert runner.engine.name == "openvino"
    assert list(remembered().values()) == [verdict]


@pytest.mark.parametrize("short", ["memory", "disk", "cache"])
def test_an_engine_that_hides_the_trouble_is_not_believed(
    engine: type[Failing], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, short: str
) -> None:
    monkeypatch.setattr(engine, "causes", (RuntimeError("general error"),))
    if short == "memory":
        monkeypatch.setattr(trouble, "available_bytes", lambda: 1000)
    elif short == "disk":
        monkeypatch.setattr(trouble, "_SPARE", 1 << 60)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setattr(trouble, "cache_folder", lambda: tmp_path / "file" / "below")
    assert not choose_engine(prepare(tiny(), CPU), CPU, 1, "small", "abc", AUTO)[1].lasts
    assert remembered() == {}


def test_a_failure_of_the_engine_itself_is_remembered(
    engine: type[Failing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "causes", (RuntimeError("an operation it does not know"),))
    verdict = choose_engine(prepare(tiny(), CPU), CPU, 1, "small", "abc", AUTO)[1]
    assert verdict.engine == "eager"
    assert list(remembered().values()) == [verdict]


def test_an_engine_asked_for_is_tried_and_spoken_of_every_time(
    engine: type[Failing], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("promptseg"), "propagate", True)
    network = prepare(tiny(), CPU)
    monkeypatch.setattr(engine, "causes", (RuntimeError("an operation it does not know"),))
    for _ in range(2):
        caplog.clear()
        runner, verdict = choose_engine(network, CPU, 1, "small", "abc", "openvino")
        assert runner.engine.name == "eager"
        assert "openvino is not used: " in caplog.text
        assert "engine openvino was asked for and is not used: " in verdict.given_up
        assert remembered() == {}
    key = choose._key(CPU, 1, "abc", "openvino")
    choose._remember(key, Verdict("eager", "small", "cpu", 1))  # as versions before did
    assert choose_engine(network, CPU, 1, "small", "abc", "openvino")[1].given_up
    monkeypatch.setattr(engine, "causes", ())
    runner, verdict = choose_engine(network, CPU, 1, "small", "abc", "openvino")
    assert runner.engine.name == "openvino"
    assert verdict.given_up == ""
    assert choose_engine(network, CPU, 1, "small", "abc", "openvino")[1] == verdict


def test_the_provenance_says_that_another_engine_ran() -> None:
    predictor = BrightPredictor()
    trials = [Trial("openvino", note="no space left")]
    predictor.verdict = Verdict("eager", "small", "cpu", 1, trials, wanted="openvino")
    pixels = np.full((20, 20), 10, np.uint8)
    pixels[5:15, 5:15] = 200
    result = Segmenter(predictor).segment(Image.from_array(pixels), Box((4, 4, 16, 16)))
    said = "engine openvino was asked for and is not used: no space left"
    assert said in result.provenance.to_json()["notes"]
    assert result.provenance.to_json()["model"]["engine"] == "eager"


def test_compiled_models_are_removed_by_what_they_list(tmp_path: Path) -> None:
    store = CompiledStore(tmp_path, limit=1500 / 2**30)

    def make(folder: Path) -> Path:
        (folder / "model.bin").write_bytes(b"x" * 700)
        return folder / "model.bin"

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x" * 5000)
    look_alike = tmp_path / ("0" * 64)
    look_alike.mkdir()
    (look_alike / "entry.json").write_text('{"facts": {}, "main": "a", "files": {"a": ""}}')
    (look_alike / "a").write_text("x" * 5000)
    (tmp_path / ".part-mine").mkdir()
    old = store.get({"weights": "a"}, make).parent
    (old / "notes.txt").write_text("mine")  # somebody's, in a folder of ours
    for name in "bcd":
        newest = store.get({"weights": name}, make)
    assert newest.exists()
    assert (mine / "thesis.txt").exists()
    assert (look_alike / "a").exists()
    assert (tmp_path / ".part-mine").exists()
    assert [p.name for p in old.iterdir()] == ["notes.txt"]


def test_a_damaged_entry_is_made_again_around_what_is_not_ours(tmp_path: Path) -> None:
    store = CompiledStore(tmp_path)

    def make(folder: Path) -> Path:
        (folder / "model.bin").write_text("whole")
        return folder / "model.bin"

    entry = store.get({"weights": "a"}, make).parent
    (entry / "notes.txt").write_text("mine")
    (entry / "model.bin").write_text("cut")
    assert store.get({"weights": "a"}, make).read_text() == "whole"
    assert (entry / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [entry.name]
