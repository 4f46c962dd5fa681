"""`promptseg models` says why the default is the default, and the default is that model everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from json_answers import answer
from promptseg.cli.main import main
from promptseg.evaluate.options import EvaluateJob
from promptseg.models.cards import CARDS, DEFAULT
from promptseg.segment.options import SegmentJob


def test_the_default_is_said_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{DEFAULT} what" in shown
    assert shown.count(" default because ") == 1
    assert main(["models", "--json"]) == 0
    told = {card["name"]: card for card in answer("models", capsys.readouterr().out)}
    assert [name for name in told if "default" in told[name]] == [DEFAULT]
    assert set(told) == set(CARDS)


def test_it_is_what_runs_where_none_is_named(tmp_path: Path) -> None:
    assert SegmentJob(input=tmp_path, output=tmp_path / "x.png").model == DEFAULT
    assert EvaluateJob(input=tmp_path, output=tmp_path / "x").model == (DEFAULT,)
