"""The report: what it says, and that it says it with or without matplotlib and logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import InputError
from promptseg.train.curves import draw_curves, read_history
from promptseg.train.report import write_report
from promptseg.train.validate import Validation
from promptseg.train.verdict import compare
from train.made_answers import made_validation

ALL = frozenset({"box", "point", "mask"})
TRAIN = "update,epoch,loss,learning_rate\n1,0,0.9,1e-5\n2,0,nan,1e-5\n3,0,0.5,1e-5\nx,,,\n"
VALIDATION = "update,box,box+8,point,point+8,score\n2,0.6,0.7,0.4,0.5,0.55\n4,0.7,,0.5,0.6,0.6\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "validation.csv").write_text(VALIDATION)
    return tmp_path


def test_all_three_files(folder: Path) -> None:
    before, after = made_validation(), made_validation(lambda *_: 0.05, noise=1, moved=0.5)
    facts: dict[str, object] = {"strategy": "medicosam", "output": Path("a", "run")}
    facts["rate"] = float("nan")
    facts["reported_on"] = "the test part"
    verdict = write_report(folder, before, after, facts, ALL, folder)
    assert verdict == compare(before, after, ALL)
    page = (folder / "report.md").read_text()
    for words in ("**Improvement.**", "not a medical device", "| CT |", "listen", "linear CKA"):
        assert words in page
    assert "| box+8 | yes | 32 | 16 | 0.7" in page
    said = json.loads((folder / "report.json").read_text())
    assert said["verdict"]["outcome"] == "improvement"
    assert said["asked_with"] == ["box", "mask", "point"]
    assert said["facts"] == {
        "strategy": "medicosam",
        "output": "run",
        "rate": None,
        "reported_on": "the test part",
    }
    assert "Measured on the test part." in page
    with Image.open(folder / "curves.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 10
    assert not list(folder.glob(".part*"))


def test_the_same_again_is_the_same_files(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        write_report(tmp_path / name, made_validation(), made_validation(), {}, ALL)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("change", "words"), [(-0.05, "**Worse.**"), (0.0, "**No improvement.**")])
def test_the_word_is_not_used_lightly(tmp_path: Path, change: float, words: str) -> None:
    write_report(tmp_path, made_validation(), made_validation(lambda *_: change), {}, ALL)
    page = (tmp_path / "report.md").read_text()
    assert words in page
    assert "improvement" not in page.replace("No improvement", "")


def test_too_few(tmp_path: Path) -> None:
    before = made_validation(patients=2, modalities=("CT",))
    after = made_validation(lambda *_: 0.3, patients=2, modalities=("CT",))
    write_report(tmp_path, before, after, {}, ALL)
    page = (tmp_path / "report.md").read_text()
    assert "**Too few to tell.**" in page
    assert "improvement" not in page.lower()


def test_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "curves.png").write_bytes(b"of an earlier run")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(folder, made_validation(), made_validation(), {}, ALL, folder)
    assert not (folder / "curves.png").exists()
    page = (folder / "report.md").read_text()
    assert "No curves: expected matplotlib" in page
    assert "![" not in page


def test_validations_that_do_not_pair_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the same objects"):
        write_report(tmp_path, made_validation(), Validation(), {}, ALL)
    assert not list(tmp_path.iterdir())


def test_histories(folder: Path, tmp_path: Path) -> None:
    history = read_history(folder)
    assert history.loss == ([1, 3], [0.9, 0.5])
    assert list(history.scores) == ["box", "box+8", "point", "point+8"]
    assert history.scores["box"] == ([2, 4], [0.6, 0.7])
    assert history.scores["box+8"] == ([2], [0.7])
    assert read_history(folder / "train.csv") == history
    both = tmp_path / "both" / "history.csv"
    both.parent.mkdir()
    both.write_text("update,epoch,loss,box\n1,0,0.9,\n2,0,,0.6\n")
    assert read_history(both).loss == ([1], [0.9])
    assert read_history(both).scores == {"box": ([2], [0.6])}
    assert read_history(None).scores == read_history(tmp_path / "none").scores == {}


def test_curves_of_what_there_is(folder: Path) -> None:
    """No corrections, one modality, a long log."""
    before, after = (made_validation(corrections=0, modalities=("CT",)) for _ in range(2))
    verdict = compare(before, after, ALL)
    rows = "".join(f"{k},0,{1 / k},1e-5\n" for k in range(1, 200))
    (folder / "train.csv").write_text(TRAIN.splitlines()[0] + "\n" + rows)
    draw_curves(folder / "c.png", verdict, read_history(folder))
    (folder / "train.csv").unlink()
    draw_curves(folder / "d.png", verdict, read_history(folder))
    assert (folder / "c.png").stat().st_size > 10_000
