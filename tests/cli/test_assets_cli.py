"""`promptseg assets`: list, fetch, verify, remove."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from json_answers import answer
from promptseg.assets import store
from promptseg.assets.store import Asset
from promptseg.cli import assets as verb
from promptseg.cli.main import main

CONTENT = b"weights" * 1000
GOOD = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one sound asset out of three: `tiny`, `other` (to fetch) and `own` (to bring)."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "w.pth").write_bytes(CONTENT)
    (tmp_path / "served.pth").write_bytes(CONTENT)
    url = (tmp_path / "served.pth").as_uri()
    facts = ("https://x", "x")
    known = {
        "tiny": Asset("tiny", "weights", "w.pth", "MIT", *facts, 7000, GOOD),
        "other": Asset(
            *("other", "sample", "o.pth", "Apache-2.0 (of the image nothing is said)", *facts),
            *(7000, GOOD, (store.Source(url=url),)),
        ),
        "own": Asset("own", "weights", "own.pt", "unknown", *facts),
    }
    monkeypatch.setenv("PROMPTSEG_HOME", str(home))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    monkeypatch.setattr(store, "manifest", lambda: known)
    monkeypatch.setattr(verb, "manifest", lambda: known)
    return home


def test_the_list_says_what_is_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "tiny", "other", "own"]
    assert lines[1].endswith(f"present  {home / 'w.pth'}")
    assert lines[2].split()[-2:] == ["absent", "-"]
    (home / "w.pth").write_bytes(b"half")
    assert main(["assets", "list", "tiny"]) == 0
    assert "damaged" in capsys.readouterr().out
    assert main(["assets", "--json"]) == 0
    facts = {f["name"]: f for f in answer("assets", capsys.readouterr().out)}
    assert facts["tiny"]["state"] == "damaged"
    assert facts["tiny"]["reason"] == "4 bytes instead of 7000"
    assert facts["other"]["licence"] == "Apache-2.0 (of the image nothing is said)"
    assert facts["own"]["sources"] == []


def test_fetching_twice_fetches_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", "fetch", "other"]) == 0
    assert capsys.readouterr().out == f"other  {home / 'o.pth'}\n"
    stamp = (home / "o.pth").stat().st_mtime_ns
    assert main(["assets", "fetch", "other", "tiny", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert (home / "o.pth").stat().st_mtime_ns == stamp
    assert main(["assets", "fetch", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "present"


def test_verify_names_what_is_damaged(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", "verify"]) == 0
    assert capsys.readouterr().out == f"tiny  verified  {home / 'w.pth'}\n"
    (home / "o.pth").write_bytes(b"x" * 7000)
    assert main(["assets", "verify"]) == 2
    printed = capsys.readouterr()
    assert "tiny  verified" in printed.out
    assert printed.err.count("error:") == 1
    assert f"got {home / 'o.pth'} (other: sha256" in printed.err
    assert main(["assets", "verify", "tiny", "--quiet"]) == 0
    assert main(["assets", "verify", "own"]) == 2
    assert "no own; see promptseg assets fetch" in capsys.readouterr().err
    assert main(["assets", "remove", "tiny", "other"]) == 0
    assert main(["assets", "verify"]) == 0
    assert "nothing is here to verify" in capsys.readouterr().out


def test_remove_says_what_it_did_and_leaves_other_folders_alone(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "w.pth").write_bytes(CONTENT)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS", str(local))
    assert main(["assets", "remove", "tiny", "other"]) == 0
    said = capsys.readouterr().out
    assert f"removed {home / 'w.pth'}" in said
    assert f"tiny is also in {local / 'w.pth'}, outside the cache: left alone" in said
    assert "other was not here" in said
    assert main(["assets", "remove", "tiny"]) == 2
    assert "outside of it; nothing was removed" in capsys.readouterr().err
    assert (local / "w.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch"], "the names of what to fetch"),
        (["remove"], "the names of what to remove"),
        (["fetch", "tinny"], "an asset out of tiny, other, own, got 'tinny'"),
        (["remove", "tiny", "tinny"], "got 'tinny'"),
        (["list", "tinny"], "got 'tinny'"),
        (["get", "tiny"], "invalid choice 'get'"),
        (["--force"], "Unrecognized options: --force"),
    ],
)
def test_bad_requests_are_one_error_and_change_nothing(
    home: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assets", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert [p.name for p in home.iterdir()] == ["w.pth"]


def test_the_list_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from promptseg.cli.main import main; main(['assets']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'rich.progress')))"
    )
    environment = {**os.environ, "PROMPTSEG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "lite-medsam" in done.stdout
