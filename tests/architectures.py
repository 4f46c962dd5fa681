"""Networks of a test's own size under the name of a build, known only while that test runs."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cache
from typing import Any

import pytest

from promptseg.models import checkpoint


def build_as(
    monkeypatch: pytest.MonkeyPatch, table: MutableMapping[str, Any], builds: Mapping[str, Any]
) -> None:
    """Let a family's table have these builds, and `checkpoint` see them anew.

    Args:
        monkeypatch: undoes all of it after the test.
        table: of a family, such as `promptseg.models.families.sam3.build.SHAPES`.
        builds: by name.
    """
    for name, build in builds.items():
        monkeypatch.setitem(table, name, build)
    forget_builds(monkeypatch)


def forget_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `checkpoint` remember nothing of other tests' networks, nor other tests of this one's.

    It keeps architectures by the names of builds. Where two tests give one name two sizes, the order in
    which they run would decide which of them is refused.
    """
    for name in ("_architecture", "_vocabulary"):
        monkeypatch.setattr(checkpoint, name, cache(getattr(checkpoint, name).__wrapped__))
