"""Licences that have to be agreed to: once, by a person or a setting."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from promptseg.assets import manifest, require_agreement
from promptseg.assets.agreement import agreed
from promptseg.cli.main import main
from promptseg.errors import AssetError

SAM3 = manifest()["sam3"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTSEG_AGREE", raising=False)
    return tmp_path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_it_is_one_clear_error() -> None:
    with pytest.raises(
        AssetError, match=r"agreement to the SAM License.*promptseg assets agree sam3"
    ):
        require_agreement(SAM3)
    require_agreement(manifest()["medsam2"])  # asks for none


def test_a_setting_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSEG_AGREE", "another, sam license")
    require_agreement(SAM3)


@pytest.mark.parametrize(("answer", "holds"), [("yes\n", True), ("\n", False), ("no\n", False)])
def test_a_person_is_asked_once(answer: str, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    if holds:
        require_agreement(SAM3)
        require_agreement(manifest()["medical-sam3"])  # the same licence: not asked again
    else:
        with pytest.raises(AssetError):
            require_agreement(SAM3)
    assert "not for military" in shown.getvalue()
    assert shown.getvalue().count("Do you agree") == 1
    assert agreed("SAM License") is holds


def test_the_command_shows_and_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", "agree", "sam3"]) == 0
    assert "facebookresearch/sam3/blob/main/LICENSE" in (said := capsys.readouterr().out)
    assert "not agreed to yet" in said
    assert not agreed("SAM License")
    assert main(["assets", "agree", "sam3", "medical-sam3", "--yes"]) == 0
    assert capsys.readouterr().out.count("agreed to the SAM License") == 1
    require_agreement(SAM3)
    assert main(["assets", "agree", "medsam2"]) == 0
    assert "no agreement is asked for" in capsys.readouterr().out
