"""Verbs, help, exit codes, and an import that costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from json_answers import answer
from promptseg import __version__
from promptseg.cli.main import VERBS, main


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb}" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"promptseg {verb}" in capsys.readouterr().out


def test_unknown_verbs_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["segmnt"]) == 2
    assert "expected a verb out of" in capsys.readouterr().err
    assert main(["models", "--nonsense"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: expected the options of promptseg models, got Unrecognized")
    assert printed.count("\n") == 1
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_a_fault_of_ours_is_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from promptseg.cli import models

    def broken(_argv: list[str]) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.delenv("PROMPTSEG_DEBUG", raising=False)
    monkeypatch.setattr(models, "run", broken)
    assert main(["models"]) == 1
    assert "fault of promptseg" in capsys.readouterr().err


def test_a_pipe_that_breaks_elsewhere_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As that to a process of our own which has ended: what was asked for is not done."""
    from promptseg.cli import models

    def broken(_argv: list[str]) -> int:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            return os.write(writer, b"work")
        finally:
            os.close(writer)

    monkeypatch.delenv("PROMPTSEG_DEBUG", raising=False)
    monkeypatch.setattr(models, "run", broken)
    assert main(["models"]) == 1
    assert "fault: BrokenPipeError" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there break otherwise")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_is_no_fault(unbuffered: str) -> None:
    """As `promptseg models | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "promptseg", "models"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["train"], "; the same command goes on from here"),
        (["evaluate", "--overwrite"], ""),  # it would begin anew
        (["info"], ""),
    ],
)
def test_an_interrupted_verb_says_whether_it_can_be_taken_up(
    words: list[str],
    more: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"promptseg.cli.{words[0]}.run", stop)
    assert main(words) == 130
    assert capsys.readouterr().err == f"interrupted{more}\n"


def test_an_interruption_while_a_zip_file_is_written_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file complains that it is closed too early, which hides what came."""

    def stop(_: list[str]) -> int:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            handle = archive.open("a", "w")
            handle.write(b"half of it")
            raise KeyboardInterrupt

    monkeypatch.setattr("promptseg.cli.info.run", stop)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("code", ["import promptseg", "import promptseg.cli.main"])
def test_importing_loads_nothing_heavy(code: str) -> None:
    heavy = ("torch", "numpy", "scipy", "SimpleITK", "nibabel", "pydicom", "PIL", "tyro", "rich")
    program = f"import sys; {code}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_models_are_listed_with_their_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert "lite-medsam" in text
    assert "medsam_vit_b.pth, which you get from the source; then --model medsam-vit-b=FILE" in text
    assert main(["models", "--json"]) == 0
    cards = {c["name"]: c for c in answer("models", capsys.readouterr().out)}
    assert cards["lite-medsam"]["prompts"] == "box"
    assert cards["mobile-sam"]["prompts"] == "box, mask, point"
    assert all(c["licence"] and c["cite"] and c["weak at"] for c in cards.values())


def test_info_says_what_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.png"
    PilImage.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(path)
    assert main(["info", str(path), "--json"]) == 0
    facts = answer("info", capsys.readouterr().out)
    assert facts["kind"] == "picture"
    assert facts["size_xyz"] == [20, 10]
    assert facts["range"] == [0, 199]
    assert main(["info", str(path)]) == 0
    assert "20 x 10" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "none.png")]) == 2
