"""What a user gets wrong first: a verb, an option, a path, an address; and how far long work is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from json_answers import answer
from promptseg.cli.main import main
from promptseg.progress import Lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["segmnt"], "did you mean segment?"),
        (["segment", "-i", "a.png", "-o", "b.png", "--widnow", "lung"], "did you mean --window?"),
        (["train", "-i", "a", "-o", "b", "--learnig-rate=1"], "did you mean --learning-rate?"),
        (
            ["info", "http://localhost:8042/dicom-web"],
            "write dicomweb+http://localhost:8042/dicom-web",
        ),
        (["info", "https://host/dicom-web"], "write dicomweb://host/dicom-web"),
        (["segment", "-i", "http://host/a", "-o", "b.png"], "write dicomweb+http://host/a"),
        (["info", "-i", "nowhere.png"], "nowhere.png: no such file"),
    ],
)
def test_slips_are_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["segment", "evaluate", "curate", "train", "embed", "convert"])
def test_a_path_that_is_wrong_is_said_before_torch_is_imported(verb: str, tmp_path: Path) -> None:
    script = (
        "import sys; from promptseg.cli.main import main; "
        f"code = main(['{verb}', '-i', 'nowhere', '-o', 'out']); "
        "print(code, any(m in sys.modules for m in ('torch', 'scipy', 'nibabel')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split() == ["2", "False"]
    assert "nowhere: no such file or folder" in done.stderr
    assert not list(tmp_path.iterdir())


def test_failures_are_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "-i", "nowhere", "-o", "out.png", "--json"]) == 2
    printed = capsys.readouterr()
    error = answer("segment", printed.out)["error"]
    assert error["got"] == "nowhere: no such file or folder"
    assert error["kind"] == "InputError"
    assert printed.err.startswith("error: expected ")


def test_long_work_says_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = Lines("slices", 100, clock=lambda: now, seconds=30)
    for done in range(1, 100):
        now += 2.0
        lines.update(done, "of liver")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "slices of liver: 15 of 100, about 3 min left"
    assert said[-1] == "slices of liver: 90 of 100, about 20 s left"
    assert len(said) == 6
    quick = Lines("slices", None, clock=lambda: now, seconds=30)
    quick.update(5)
    assert capsys.readouterr().err == ""
