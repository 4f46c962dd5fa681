"""Storage that has bad moments, shows files late, or gives half of them."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg import Segmenter, read
from promptseg.cli.main import main
from promptseg.errors import InputError, NoSpaceError
from promptseg.formats import storage
from promptseg.formats.storage import files_at, parts_of, stamp
from promptseg.jobs import image_task
from promptseg.jobs.results_table import read_results

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402


class Shaky(MemoryFileSystem):
    """Raises what it is told to before it answers; `late` says how often a file is not there yet."""

    cachable = False
    failures: list[BaseException] = []  # noqa: RUF012
    late: dict[str, int] = {}  # noqa: RUF012
    cut: dict[str, int] = {}  # noqa: RUF012
    asked = 0

    def _ask(self, path: str) -> None:
        Shaky.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        if self.late.get(path, 0) > 0:
            self.late[path] -= 1
            raise FileNotFoundError(path)

    def info(self, path: str, **how: Any) -> Any:
        self._ask(path)
        return super().info(path, **how)

    def ls(self, path: str, detail: bool = True, **how: Any) -> Any:
        self._ask(path)
        return super().ls(path, detail, **how)

    def get_file(self, rpath: str, lpath: str, **how: Any) -> None:
        self._ask(rpath)
        super().get_file(rpath, lpath, **how)
        if self.cut.get(rpath, 0) > 0:
            self.cut[rpath] -= 1
            os.truncate(lpath, 10)


@pytest.fixture
def shaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Storage with one scan, `memory://bucket/scan.nii.gz`; waits are not waited for."""
    before = fsspec.get_filesystem_class("memory")
    fsspec.register_implementation("memory", Shaky, clobber=True)
    monkeypatch.setattr(storage, "time", SimpleNamespace(sleep=lambda _: None))
    files = Shaky()
    content = nib.Nifti1Image(scan().T, np.eye(4)).to_bytes()
    files.pipe_file("/bucket/scan.nii", content)
    files.pipe_file("/bucket/deep/er/scan.nii", content)
    Shaky.failures, Shaky.late, Shaky.cut, Shaky.asked = [], {}, {}, 0
    yield Shaky
    Shaky.failures, Shaky.late = [], {}
    files.rm("/", recursive=True)
    fsspec.register_implementation("memory", before, clobber=True)


def scan() -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).integers(0, 60, (3, 24, 30)).astype(np.int16)
    values[:, 4:14, 6:20] += 150
    return values


SCAN = Path("memory://bucket/scan.nii")


@pytest.mark.parametrize(
    "error", [OSError("503"), TimeoutError("slow"), ConnectionResetError("gone"), ValueError("?")]
)
def test_a_bad_moment_is_waited_out_and_said(
    shaky: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    shaky.failures = [error, error]
    with caplog.at_level(logging.WARNING, "promptseg"):
        assert (read(SCAN).voxels == scan()).all()
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "tried again in" in line]) == 2


def test_a_file_that_is_shown_late_is_found(shaky: Any) -> None:
    shaky.late = {"/bucket/scan.nii": 2}
    assert (read(SCAN).voxels == scan()).all()
    shaky.late = {"/bucket/scan.nii": 2}
    assert stamp(SCAN)[0] == 352 + 2 * scan().size


def test_half_a_file_is_fetched_again(shaky: Any) -> None:
    shaky.cut = {"/bucket/scan.nii": 2}
    assert (read(SCAN).voxels == scan()).all()
    shaky.cut = {"/bucket/scan.nii": 99}
    with pytest.raises(InputError, match=r"10 of [0-9,]+ bytes.*the same command goes on"):
        read(SCAN)


def test_a_listing_goes_on_where_it_failed(shaky: Any) -> None:
    shaky.failures = [OSError("503")]
    shaky.late = {"/bucket/deep": 1, "/bucket/deep/er": 2}
    found = [path.name for path in files_at(Path("memory://bucket"))]
    assert found == ["scan.nii", "scan.nii"]


def test_what_does_not_pass_is_said_at_once_or_after_few_tries(shaky: Any) -> None:
    shaky.failures = [PermissionError("no")]
    with pytest.raises(InputError, match="credentials"):
        read(SCAN)
    assert shaky.asked == 1
    shaky.failures = [OSError("503")] * 9
    with pytest.raises(InputError, match="storage that answers") as refused:
        read(SCAN)
    assert len(shaky.failures) == 9 - 1 - len(storage._WAITS)
    assert type(refused.value) is InputError


def test_parts_of_a_file(shaky: Any) -> None:
    content = nib.Nifti1Image(scan().T, np.eye(4)).to_bytes()
    assert parts_of(SCAN, [(0, 4), (352, 10)]) == [content[:4], content[352:362]]


def test_no_room_for_the_copy_is_said_as_such(shaky: Any) -> None:
    shaky.failures = [OSError(errno.ENOSPC, "No space left on device")]
    with pytest.raises(NoSpaceError, match="no space left"):
        read(SCAN)
    assert shaky.asked == 1


def test_a_case_whose_storage_stays_away_is_set_aside_and_the_others_are_done(
    shaky: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_task, "load_for", lambda _: Segmenter(BrightPredictor()))
    names = (
        "memory://bucket/scan.nii",
        "memory://bucket/none.nii",
        "memory://bucket/deep/er/scan.nii",
    )
    rows = [f'{name},"5,3,21,18@1=block",{k}.nii.gz' for k, name in enumerate(names)]
    (tmp_path / "cases.csv").write_text("\n".join(["image,box,output", *rows]) + "\n")
    out = tmp_path / "out"
    command = ["segment", "-i", str(tmp_path / "cases.csv"), "-o", str(out), "--no-overlay"]
    assert main([*command, "--quiet"]) == 2
    lines = read_results(out)
    assert [line["state"] for line in lines] == ["done", "failed", "done"]
    assert "not there" in lines[1]["error"]
    shaky.late = {"/bucket/scan.nii": 99}  # gone since: neither done again nor the end of the list
    shaky().pipe_file("/bucket/none.nii", nib.Nifti1Image(scan().T, np.eye(4)).to_bytes())
    assert main([*command, "--quiet"]) == 2
    assert [line["state"] for line in read_results(out)] == ["failed", "done", "done"]
