"""A collection that lies in storage is read as one in a folder is, a part of a shard at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptseg.datasets.collection import Collection
from promptseg.errors import InputError
from promptseg.formats import storage
from train.tiny import made_data


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(storage, "_WAITS", (0.0,))
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def test_it_is_read_as_from_a_folder(tmp_path: Path, memory: Any) -> None:
    here = Collection(made_data(tmp_path / "data"))
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            memory.pipe(f"/bucket/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    there = Collection("memory://bucket/data")
    assert there.sha256 == here.sha256
    assert there.samples == here.samples
    for sample in here.samples:
        for a, b in zip(here.read(sample), there.read(sample), strict=True):
            np.testing.assert_array_equal(a, b)
    shard = f"/bucket/data/shards/{there.samples[0].shard}"
    memory.pipe(shard, memory.cat(shard)[:40])
    with pytest.raises(InputError, match="that promptseg curate wrote"):
        there.read(there.samples[0])
    memory.rm(shard)
    with pytest.raises(InputError, match="not there"):
        there.read(there.samples[0])
    with pytest.raises(InputError, match="not there"):
        Collection("memory://bucket/nothing")
