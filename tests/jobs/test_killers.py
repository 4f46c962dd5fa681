"""Cases that kill the one process that does a list: set aside at the third start, and no others are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from promptseg.cli.main import main
from promptseg.formats.masks import read_masks
from promptseg.jobs import convert_list
from promptseg.jobs.killers import WithoutKillers
from promptseg.jobs.lists import RefusedCase
from promptseg.jobs.results_table import read_results
from promptseg.work import Inline
from work.weighed import Weighed

KILLED = """
import os, signal, sys
from promptseg.cli.main import main
from promptseg.jobs import convert_list
once, killers = convert_list.convert, sys.argv[1].split(",")
def convert(job, asked):
    if job.input.name[0] in killers:
        os.kill(os.getpid(), signal.SIGKILL)
    return once(job, asked)
convert_list.convert = convert
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Converts a list of four masks into `out`."""
    labels = np.zeros((3, 12, 14), np.uint8)
    labels[:, 2:8, 3:9] = 1
    for k in range(4):
        nib.save(nib.Nifti1Image(labels.T, np.eye(4)), tmp_path / f"{k}.nii.gz")
    source = tmp_path / "list.csv"
    source.write_text("mask\n" + "".join(f"{k}.nii.gz\n" for k in range(4)))
    out = str(tmp_path / "out")
    return ["convert", "-i", str(source), "-o", out, "--suffix", ".nrrd", "--quiet"]


def states(out: Path) -> list[str]:
    return [line["state"] for line in read_results(out)]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such kill")
def test_a_case_that_kills_the_only_process_is_set_aside_at_the_third_start(
    tmp_path: Path, command: list[str]
) -> None:
    out = tmp_path / "out"

    def run(killers: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", KILLED, killers, *command], capture_output=True, timeout=300
        ).returncode

    assert [run("1,2") for _ in range(4)] == [-signal.SIGKILL] * 4
    assert states(out).count("done") == 1, "they stand before the last one"
    assert run("1,2") == 2
    assert states(out) == ["done", "failed", "failed", "done"]
    assert all("killed twice" in line["error"] for line in read_results(out)[1:3])
    assert not list(out.glob(".promptseg*"))
    assert main(command) == 0, "each is tried again"
    assert states(out) == ["done"] * 4
    assert all(len(read_masks(out / f"{k}.nrrd").segments) == 1 for k in range(4))


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_whoever_is_interrupted_is_not_blamed(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    once = convert_list.convert

    def interrupted(job: Any, asked: Any) -> Any:
        if job.input.name[0] == "1":
            if how == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        return once(job, asked)

    monkeypatch.setattr(convert_list, "convert", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(3):
        assert main(command) == 130
        assert not list((tmp_path / "out").glob(".promptseg*"))
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setattr(convert_list, "convert", once)
    assert main(command) == 0
    assert states(tmp_path / "out") == ["done"] * 4


def test_a_model_that_kills_while_it_loads_is_no_case_s_fault(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    there: list[bool] = []

    def aside(task: Any, error: Any) -> RefusedCase:
        return RefusedCase(1, task.title, None, error)

    class Looking(Weighed):
        def do(self, context: Any) -> str:
            there.append(record.exists())
            return super().do(context)

    executor = Inline(lambda: there.append(record.exists()))
    with WithoutKillers(executor, record, lambda task: task.title, aside) as doing:
        done = [result for _, result, _ in doing.each([Looking("a", 0), Looking("b", 0)])]
    assert done == ["a", "b"]
    assert there == [False, True, True]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[1]", '{"a -> 1": "x"}', "\x00"])
def test_a_record_that_cannot_be_read_says_nothing(tmp_path: Path, content: str) -> None:
    record = tmp_path / "record.json"
    record.write_text(content)
    with WithoutKillers(
        Inline(lambda: None), record, lambda task: task.title, lambda *_: None
    ) as doing:  # type: ignore[arg-type,return-value]
        assert [result for _, result, _ in doing.each([Weighed("a", 0)])] == ["a"]
    assert not record.exists()
