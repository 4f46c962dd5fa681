"""Nothing leaves the machine: every verb and engine, traced: network calls and files written."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from promptseg.telemetry import refuse_telemetry

TRACE = Path(__file__).resolve().parent / "trace"
_SESSION = """
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
session = onnxruntime.InferenceSession(model.SerializeToString())
assert len(session.run(None, {"x": __import__("numpy").ones(1, "float32")})) == 1
"""
SOURCE = Path(__file__).resolve().parent.parent / "src"


def traced(folder: Path, *command: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run Python under the trace with a home, a cache and a temporary folder of its own."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
    for name in ("home", "cache", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {
        **kept,
        "HOME": str(folder / "home"),
        "PROMPTSEG_HOME": str(folder / "cache"),
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join((str(TRACE), str(SOURCE))),
        "PROMPTSEG_TRACE": str(folder / "trace.jsonl"),
    }
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, cwd=folder
    )
    lines = (folder / "trace.jsonl").read_text().splitlines()
    return done, [json.loads(line) for line in lines]


def network(events: list[list[str]]) -> list[str]:
    return [what for kind, what in events if kind == "network"]


def strays(events: list[list[str]], *allowed: Path) -> list[str]:
    """What was written outside of some folders."""
    roots = [str(root) for root in allowed]
    return sorted(
        {
            what
            for kind, what in events
            if kind == "write" and what != os.devnull and not what.startswith(tuple(roots))
        }
    )


def test_the_trace_sees_what_it_is_for(tmp_path: Path) -> None:
    tell = "import socket, pathlib; pathlib.Path('note').write_text('x'); s = socket.socket(); "
    tell += "s.settimeout(0.01); s.connect_ex(('127.0.0.1', 9)); socket.getaddrinfo('localhost', 9)"
    done, events = traced(tmp_path, "-c", tell)
    assert done.returncode == 0, done.stderr
    assert strays(events, tmp_path / "tmp") == [str(tmp_path / "note")]
    assert [call.split("'")[1] for call in network(events)] == [
        "socket.connect",
        "socket.getaddrinfo",
    ]


@pytest.mark.slow
def test_no_verb_and_no_engine_calls_anybody_or_writes_elsewhere(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done, events = traced(tmp_path, str(TRACE / "every_verb.py"), str(work))
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    for what, code in codes.items():
        away = what == "export" and find_spec("openvino") is None
        assert code == (2 if away else 0), (what, done.stderr)
    assert network(events) == []
    assert strays(events, work, tmp_path / "cache", tmp_path / "tmp") == []
    assert list((tmp_path / "home").rglob("*")) == []  # by compiled code neither


@pytest.mark.parametrize("package", ["openvino", "onnxruntime"])
def test_packages_that_report_are_silent_once_ours_is_imported(
    package: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    tell = f"import promptseg, {package}"
    if package == "openvino":
        tell += "; import openvino.tools.ovc"
    elif find_spec("onnx"):
        tell += _SESSION
    done, events = traced(tmp_path, "-c", tell)
    assert done.returncode == 0, done.stderr
    assert network(events) == []
    assert list((tmp_path / "home").rglob("*")) == []


def test_telemetry_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.setitem(sys.modules, "openvino_telemetry.backend", sys)
    refuse_telemetry()
    for name in ("openvino_telemetry", "openvino_telemetry.backend"):
        with pytest.raises(ImportError):
            importlib.import_module(name)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_compiled_code_calls_nobody_either(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace")
    log = tmp_path / "calls"
    tell = "import promptseg\nfor name in ('openvino', 'onnxruntime'):\n"
    tell += " try: __import__(name)\n except ImportError: pass"
    command = [strace, "-f", "-e", "trace=connect,sendto", "-o", str(log), sys.executable, "-c"]
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([*command, tell], env=environment, capture_output=True, text=True)
    if "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in log.read_text()
