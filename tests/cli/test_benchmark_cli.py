"""`promptseg benchmark`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from json_answers import answer
from promptseg.cli.main import main
from promptseg.inference.predictor import Predictor
from promptseg.models.cards import CARDS
from promptseg.runtime import choose
from promptseg.runtime.choose import Trial, Verdict
from promptseg.runtime.engines import Compiled, CompileError, Eager, Part
from runtime.small import tiny


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))
    return tmp_path


def test_nothing_was_chosen_yet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--show"]) == 0
    assert "nothing was chosen here yet" in capsys.readouterr().out
    assert list(home.iterdir()) == []


def test_what_was_chosen_is_shown_with_the_reasons(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [Trial("eager", 900.0, 80.0), Trial("openvino", note="it is not installed")]
    choose._remember("key", Verdict("eager", "lite-medsam", "cpu", 1, trials, "2026-11-21 10:00"))
    assert main(["benchmark", "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lite-medsam runs on eager here (cpu, 1 threads)")
    assert lines[1].split() == ["*", "eager", "slice", "900", "ms,", "box", "80", "ms"]
    assert "it is not installed" in lines[2]
    assert main(["benchmark", "--show", "--json"]) == 0
    assert answer("benchmark", capsys.readouterr().out)[0]["trials"][0]["encode_ms"] == 900.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rounds", "0"], "expected --rounds from 1 to"),
        (["--engine", "tensorflow"], "expected an engine out of auto, eager"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--device", "cuda:77"], "a device of this machine"),
    ],
)
@pytest.mark.weights
def test_bad_options_are_one_line(
    options: list[str], said: str, lite_medsam_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


class OfAnotherNetwork(Eager):
    """An engine that is there, for a network that this is not."""

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        raise CompileError("the encoder of LiteMedSAM", "another")


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of 64 pixels in place of every model."""
    (home / "tiny.pth").write_bytes(b"tiny")
    place = CARDS["mobile-sam"], tiny(), torch.device("cpu"), home / "tiny.pth", "eager"
    predictor = Predictor.of_network(*place)
    monkeypatch.setattr(Predictor, "load", lambda *_: predictor)


def test_an_engine_of_other_networks_is_left_out_unless_asked_for(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose, "candidates", lambda _: ["eager", "native-bf16"])
    engines = {"eager": Eager(), "native-bf16": OfAnotherNetwork("native-bf16")}
    monkeypatch.setattr("promptseg.runtime.engines.engine_named", engines.get)
    assert main(["benchmark", "--rounds", "1", "--quiet", "--json"]) == 0
    facts = answer("benchmark", capsys.readouterr().out)
    assert [e["engine"] for e in facts["engines"]] == ["eager"]
    assert facts["left_out"] == {"native-bf16": "expected the encoder of LiteMedSAM, got another"}
    assert main(["benchmark", "--rounds", "1", "--engine", "native-bf16"]) == 2
    assert "got another" in capsys.readouterr().err


def test_engines_take_turns(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--engine", "eager", "--rounds", "2", "--quiet"]
    assert main(["benchmark", *options, "--json"]) == 0
    facts = answer("benchmark", capsys.readouterr().out)
    [eager] = facts["engines"]
    assert len(eager["encode_s"]) == len(eager["decode_s"]) == 2
    assert eager["embedding"] == 0
    assert eager["usable"]
    assert facts["machine"]["cores"] >= 1
    assert main(["benchmark", *options]) == 0
    assert "eager" in capsys.readouterr().out
