from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own, and no engine chosen by the environment."""
    monkeypatch.setenv("PROMPTSEG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PROMPTSEG_ENGINE", raising=False)
