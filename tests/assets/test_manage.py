"""What is here, whether it is sound, and removing only what is in the cache."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from promptseg.assets import store
from promptseg.assets.manage import remove, state_of
from promptseg.assets.store import Asset
from promptseg.errors import AssetError

CONTENT = b"weights" * 1000
PARTS = {"a.dcm": b"a", "b.dcm": b"bb"}


def asset(name: str, file: str, size: int, sha256: str) -> Asset:
    return Asset(name, "weights", file, "MIT", "https://x", "x", size, sha256)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a file, a folder, a file without a hash, and room for one more."""
    home = tmp_path / "home"
    (home / "scan").mkdir(parents=True)
    (home / "w.pth").write_bytes(CONTENT)
    (home / "own.pth").write_bytes(b"anything")
    for name, content in PARTS.items():
        (home / "scan" / name).write_bytes(content)
    known = (
        asset("tiny", "w.pth", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),
        asset("scan", "scan", 3, store.sha256_of(home / "scan")),
        asset("own", "own.pth", 0, ""),
        asset("other", "other.pth", 5, "0" * 64),
    )
    monkeypatch.setenv("PROMPTSEG_HOME", str(home))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    monkeypatch.setattr(store, "manifest", lambda: {a.name: a for a in known})
    return home


def test_the_states_of_sound_and_absent_assets(home: Path) -> None:
    names = ("tiny", "scan", "own", "other")
    assert [state_of(n).state for n in names] == ["present", "present", "present", "absent"]
    verified = [state_of(n, verify=True) for n in names]
    assert [s.state for s in verified] == ["verified", "verified", "present", "absent"]
    assert "no published hash" in verified[2].reason
    assert verified[0].path == home / "w.pth"
    assert verified[3].to_json()["path"] is None


def test_a_wrong_size_is_seen_at_once_and_a_wrong_byte_when_verified(home: Path) -> None:
    (home / "w.pth").write_bytes(CONTENT[:-1])
    assert state_of("tiny").state == "damaged"
    assert "6999 bytes instead of 7000" in state_of("tiny").reason
    (home / "w.pth").write_bytes(b"W" + CONTENT[1:])
    assert state_of("tiny").state == "present"
    assert state_of("tiny", verify=True).state == "damaged"
    (home / "scan" / "b.dcm").rename(home / "scan" / "c.dcm")
    assert state_of("scan", verify=True).state == "damaged"


def test_only_what_is_named_is_removed(home: Path) -> None:
    assert remove("scan", "other", "scan") == [home / "scan"]
    assert sorted(p.name for p in home.iterdir()) == ["own.pth", "w.pth"]
    assert remove("tiny") == [home / "w.pth"]
    assert state_of("tiny").state == "absent"
    assert remove("tiny") == []


def test_nothing_outside_the_cache_is_removed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    shutil.copy(home / "w.pth", local)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS", str(local))
    assert remove("tiny") == [home / "w.pth"]
    assert (local / "w.pth").exists()
    with pytest.raises(AssetError, match=r"local/w\.pth, outside of it; nothing was removed"):
        remove("scan", "tiny")
    assert (local / "w.pth").exists()
    assert (home / "scan").exists()


def test_a_link_is_removed_and_not_what_it_points_at(home: Path, tmp_path: Path) -> None:
    shutil.move(home / "scan", tmp_path / "real")
    (home / "scan").symlink_to(tmp_path / "real")
    shutil.move(home / "w.pth", tmp_path / "real.pth")
    (home / "w.pth").symlink_to(tmp_path / "real.pth")
    (home / "other.pth").symlink_to(tmp_path / "nowhere")
    assert len(remove("scan", "tiny", "other")) == 3
    assert (tmp_path / "real" / "a.dcm").exists()
    assert (tmp_path / "real.pth").exists()
    assert [p.name for p in home.iterdir()] == ["own.pth"]


def test_unknown_names_remove_nothing(home: Path) -> None:
    with pytest.raises(AssetError, match="an asset out of tiny, scan, own, other, got 'tinny'"):
        remove("tiny", "tinny")
    assert (home / "w.pth").exists()
    with pytest.raises(AssetError, match="an asset out of"):
        state_of("tinny")
