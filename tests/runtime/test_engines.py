"""Engines agree with eager float32 or are not used; what was chosen and compiled is kept."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from promptseg.errors import InputError
from promptseg.inference.predictor import Predictor
from promptseg.runtime import choose, openvino
from promptseg.runtime.check import check
from promptseg.runtime.choose import choose_engine, remembered, wanted_engine
from promptseg.runtime.compiled import CompiledStore
from promptseg.runtime.engines import Compiled, CompileError, Eager, Part, engine_named
from promptseg.runtime.machine import has_bfloat16
from promptseg.runtime.parts import parts_of
from promptseg.runtime.phantom import synthetic_phantom
from promptseg.runtime.rewrite import prepare
from promptseg.runtime.runner import Runner
from runtime.small import distance, plain, tiny

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def with_openvino() -> None:
    """Skips without OpenVINO; see `test_telemetry` for what it may not do."""
    pytest.importorskip("openvino")


class Wrong(Eager):
    """An engine whose masks are wrong."""

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        def run(*inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            answer = part.module(*inputs)
            if isinstance(answer, tuple):
                return -answer[0], answer[1]
            assert isinstance(answer, Tensor)
            return answer

        return run


class NotANumber(Eager):
    """An engine that gives NaN."""

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        def run(*inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            answer = part.module(*inputs)
            return tuple(a * nan for a in answer) if isinstance(answer, tuple) else answer * nan

        nan = float("nan")
        return run


class Broken(Eager):
    """An engine that compiles nothing."""

    def compile(self, part: Part, threads: int, streams: int = 1) -> Compiled:
        raise CompileError("a part it takes", "an operation it does not know")


@pytest.mark.parametrize("make", [tiny, plain])
@pytest.mark.parametrize("streams", [1, 2])
def test_openvino_in_float32_is_eager(with_openvino: None, make, streams: int) -> None:  # type: ignore[no-untyped-def]
    ready = prepare(make(), CPU)
    runner = Runner(ready, engine_named("openvino"), 2, "abc")
    size = ready.image_encoder.img_size
    slices = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 50, 20], [0, 0, 63, 63]])
    points = (boxes.view(3, 2, 2), torch.tensor([[1.0, 0]] * 3))
    with torch.inference_mode():
        expected = ready.encode(slices)
        assert distance(runner.encode(slices, parallel=streams > 1), expected) < 1e-5
        for given in ({"boxes": boxes}, {"boxes": boxes[:1]}, {"points": points}):
            found, iou = runner.decode(expected[:1], **given, multimask=True)  # type: ignore[arg-type]
            wanted, quality = ready.decode(expected[:1], **given, multimask=True)  # type: ignore[arg-type]
            assert distance(found, wanted) < 1e-4
            assert distance(iou, quality) < 1e-4


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16 arithmetic")
def test_parts_named_by_a_module_stay_in_float32(with_openvino: None, tmp_path: Path) -> None:
    part = parts_of(prepare(tiny(), CPU))["encoder"]
    properties = engine_named("openvino-bf16")._properties(1, 1)  # type: ignore[attr-defined]
    path = openvino.export_ir(part, tmp_path)
    compiled = openvino.core().compile_model(path, "CPU", properties)
    kept, reduced = set(), set()
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        if "Convolution" in facts["layerType"].astype(str):
            name = operation.get_friendly_name()
            inside = any(f".{k}/" in name or f".{k}." in name for k in part.keep_float32)
            (kept if inside else reduced).add(facts["runtimePrecision"].astype(str))
    assert kept == {"f32"}
    assert reduced == {"bf16"}


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16 arithmetic")
@pytest.mark.weights
def test_bfloat16_is_close_enough_to_be_used(with_openvino: None, lite_medsam: Predictor) -> None:
    network = lite_medsam.runner.network
    agreement = check(Runner(network, engine_named("openvino-bf16"), 1, "abc"))
    assert agreement.good
    assert agreement.embedding > 1e-3  # it is bfloat16
    assert check(Runner(network, engine_named("openvino"), 1, "abc")).embedding < 1e-5


@pytest.mark.parametrize(
    "gone", ["it.pop(0); it.clear()", "end = Thread(target=it.clear); end.start(); end.join()"]
)
def test_a_signal_is_heard_when_models_are_gone(with_openvino: None, gone: str) -> None:
    program = f"""
import faulthandler, signal
from threading import Thread
import torch
from promptseg.runtime.engines import Part, engine_named
faulthandler.enable()  # it has a stack of its own for signals, as OpenVINO's plugin
part = Part("part", torch.nn.Linear(4, 4).eval(), (torch.ones(1, 4),), inputs=("x",), outputs=("y",))
it = [engine_named("openvino").compile(part, 1) for _ in range(2)]
{gone}
try:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever it was at the start
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("heard")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "heard\n", (run.returncode, run.stderr)


@pytest.mark.slow
def test_an_export_is_made_once(with_openvino: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    export = openvino.export_ir

    def counting(part: Part, folder: Path, channels_last: tuple[str, ...]) -> Path:
        made.append(part.name)
        return export(part, folder, channels_last=channels_last)

    monkeypatch.setattr(openvino, "export_ir", counting)
    ready = prepare(tiny(), CPU)
    for weights in ("a", "a", "b"):
        Runner(ready, engine_named("openvino"), 1, weights).warm()
    assert made == ["encoder", "decoder"] * 2


def test_auto_takes_the_quickest_that_agrees_and_remembers_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engines = {
        "eager": Eager(),
        "eager-bf16": Wrong("eager-bf16"),
        "openvino": Broken("openvino"),
        "openvino-bf16": NotANumber("openvino-bf16"),
        "native-bf16": Broken("native-bf16"),
    }
    monkeypatch.setattr(choose, "engine_named", engines.__getitem__)
    ready = prepare(tiny(), CPU)
    with caplog.at_level(logging.WARNING):
        runner, verdict = choose_engine(ready, CPU, 1, "small", "abc")
    assert runner.engine.name == verdict.engine == "eager"
    for name in ("eager-bf16", "openvino", "openvino-bf16", "native-bf16"):
        assert sum(f"{name} is not used" in line for line in caplog.messages) == 1
    assert [t.engine for t in verdict.trials] == list(engines)
    assert list(remembered().values()) == [verdict]
    caplog.clear()
    assert choose_engine(ready, CPU, 1, "small", "abc")[1] == verdict
    assert not caplog.messages  # nothing is measured again
    choose_engine(ready, CPU, 1, "small", "other weights")
    assert len(remembered()) == 2


@pytest.mark.parametrize("engine", [Wrong("openvino"), NotANumber("openvino"), Broken("openvino")])
def test_an_engine_asked_for_that_fails_gives_way_to_eager(
    engine: Eager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choose, "engine_named", lambda name: engine if "open" in name else Eager())
    runner, _ = choose_engine(prepare(tiny(), CPU), CPU, 1, "small", "abc", "openvino")
    assert runner.engine.name == "eager"
    assert sum("openvino is not used" in line for line in caplog.messages) == 1


def test_a_missing_engine_gives_way_to_eager(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openvino, "version_of", lambda _: None)
    runner, _ = choose_engine(prepare(tiny(), CPU), CPU, 1, "small", "abc", "openvino")
    assert runner.engine.name == "eager"
    assert "pip install openvino" in caplog.text


def test_a_damaged_memory_of_choices_is_no_obstacle(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for text in ("{", "[]", '{"a": {"engine": 1}}', "[" * 100_000 + "]" * 100_000):
        (home / "engines.json").write_text(text)
        assert remembered() == {}
    choose._remember("key", choose.Verdict("eager", "small", "cpu", 1))
    assert json.loads((home / "engines.json").read_text())["key"]["engine"] == "eager"


def test_which_engine_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanted_engine(None) == "auto"
    monkeypatch.setenv("PROMPTSEG_ENGINE", "eager")
    assert wanted_engine(None) == "eager"
    assert wanted_engine("openvino") == "openvino"
    with pytest.raises(InputError, match="an engine out of auto, eager"):
        wanted_engine("tensorflow")


def test_the_made_picture_is_always_the_same_and_has_grey_values() -> None:
    picture = synthetic_phantom(256)
    assert picture.shape == (3, 256, 256)
    assert (picture == synthetic_phantom(256)).all()
    assert len(set((picture * 255).round().ravel().tolist())) > 100


def test_an_entry_is_made_again_when_it_is_damaged(tmp_path: Path) -> None:
    store, made = CompiledStore(tmp_path), []

    def make(folder: Path) -> Path:
        made.append(folder)
        (folder / "model.xml").write_text("whole")
        return folder / "model.xml"

    facts = {"weights": "abc", "part": "encoder"}
    path = store.get(facts, make)
    assert store.get(facts, make) == path
    assert len(made) == 1
    path.write_text("cut")
    assert store.get(facts, make).read_text() == "whole"
    (path.parent / "entry.json").write_text("{}")
    assert store.get(facts, make).read_text() == "whole"
    (path.parent / "entry.json").unlink()
    assert store.get(facts, make).read_text() == "whole"
    assert len(made) == 4
    assert [p.name for p in tmp_path.iterdir()] == [path.parent.name]  # no leftovers


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: Path) -> Path:
        (folder / "model.bin").write_text("half")
        raise RuntimeError("no such operation")

    with pytest.raises(RuntimeError):
        CompiledStore(tmp_path).get({"weights": "abc"}, make)
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    store = CompiledStore(tmp_path, limit=2500 / 2**30)

    def make(folder: Path) -> Path:
        (folder / "model.bin").write_bytes(b"x" * 700)
        return folder / "model.bin"

    def get(name: str) -> Path:
        import os
        import time

        path = store.get({"weights": name}, make)
        os.utime(path.parent, (time.time() + clock[0],) * 2)
        clock[0] += 10
        return path

    clock = [0]
    first, second = get("a"), get("b")
    get("a")
    third = get("c")
    assert first.exists()
    assert third.exists()
    assert not second.exists()
