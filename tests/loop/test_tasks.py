"""What comes back of a task: the answer of the expert, and nothing that only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from promptseg.loop.tasks import Answer, TaskFolder
from promptseg.prompts import Box
from promptseg.segment.options import SegmentOptions
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.users import Caller, calling
from serve.conftest import BOX_A, A, write_scan
from serve.fake_server import OPTIONS, bright


@pytest.fixture(autouse=True)
def _tiny_model() -> None:
    """None here: the models are the usual ones."""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "answers").mkdir()
    write_scan(tmp_path / "scan.nii.gz")
    return tmp_path


@pytest.fixture
def desk(task: Path) -> Iterator[Desk]:
    found = Desk({"bright": bright()}, Folder(task), options=OPTIONS, encode=False)
    yield found
    found.stop()
    calling(Caller())


def answer_of(task: Path) -> Answer:
    (found,) = TaskFolder(task, SegmentOptions()).answers(["scan"], bright(), ["liver"])
    return found


def box(of: list[int], name: str = "liver") -> Box:
    x0, y0, x1, y1 = map(float, of)
    return Box((x0, y0, x1, y1), 10, name)


def test_one_slice_of_an_object_is_no_answer(
    task: Path, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """As when an image is marked as done, and closed, before the other slices have followed."""
    work = desk.open_path("scan.nii.gz")
    work.session.add(box(BOX_A), spread=False)
    work.journal.write(work.session)  # type: ignore[union-attr]
    desk.close(work.id)
    Folder(task).remember("scan.nii.gz", state="done")
    found = answer_of(task)
    assert (found.state, found.objects) == ("half done", [])
    assert "scan is marked as done, but liver is answered on the prompted slices" in caplog.text
    work = desk.open_path("scan.nii.gz")
    assert work.wait(60)
    desk.close(work.id)
    found = answer_of(task)
    assert found.state == "done"
    ((name, mask),) = found.objects
    assert name == "liver"
    np.testing.assert_array_equal(mask, A)
