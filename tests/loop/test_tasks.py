"""What comes back of a task: the answer of the expert, and nothing that only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from promptseg.errors import InputError
from promptseg.formats import read
from promptseg.loop.tasks import Answer, TaskFolder
from promptseg.prompts import Box
from promptseg.segment.options import SegmentOptions
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.users import Caller, calling
from serve.conftest import BOX_A, BOX_B, SHAPE, A, B, write_scan
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


def proposed(task: Path) -> None:
    """The model proposes the first ball."""
    session = Session(bright(), read(task / "scan.nii.gz"), OPTIONS)
    session.put(A, "liver")
    Journal(Folder(task).proposal_file("scan.nii.gz")).write(session)


def test_every_user_begins_with_the_proposal_and_is_heard(task: Path, desk: Desk) -> None:
    proposed(task)
    calling(Caller("anna", "annotator"))
    work = desk.open_path("scan.nii.gz")
    assert work.session.objects == ["liver"]
    work.change(lambda: work.session.remove_object("liver"))
    work.prompt(box(BOX_B))
    assert work.wait(60)
    desk.close(work.id)
    Folder(task).remember("scan.nii.gz", state="done")
    found = answer_of(task)
    ((_, mask),) = found.objects
    np.testing.assert_array_equal(mask, B)
    calling(Caller("bert", "annotator"))
    work = desk.open_path("scan.nii.gz")
    np.testing.assert_array_equal(work.masks["liver"].mask(SHAPE), A)  # type: ignore[union-attr]
    work.change(lambda: work.session.new_object("spleen"))
    desk.close(work.id)
    with pytest.raises(
        InputError, match=r"2 sessions; save the masks that count as .*answers/scan"
    ):
        answer_of(task)
    calling(Caller("carl", "reviewer"))
    work = desk.open_path("scan.nii.gz", of="anna")
    np.testing.assert_array_equal(work.masks["liver"].mask(SHAPE), B)  # type: ignore[union-attr]


def test_a_proposal_that_is_left_as_it_is_is_the_answer(task: Path, desk: Desk) -> None:
    proposed(task)
    calling(Caller("anna", "annotator"))
    desk.close(desk.open_path("scan.nii.gz").id)
    assert all(entry["session"] for entry in Folder(task).listing() if "session" in entry)
    Folder(task).remember("scan.nii.gz", state="done")
    ((name, mask),) = answer_of(task).objects
    assert name == "liver"
    np.testing.assert_array_equal(mask, A)
    work = desk.open_path("scan.nii.gz", afresh=True)
    assert work.session.objects == []
    work.change(lambda: work.session.new_object("liver"))
    work.change(lambda: work.session.remove_object("liver"))
    assert answer_of(task).objects == [], "she says that there is nothing"


def test_a_proposal_of_another_image_is_not_used(task: Path, desk: Desk) -> None:
    proposed(task)
    file = Folder(task).proposal_file("scan.nii.gz")
    file.write_text(file.read_text().replace('"voxels_sha256": "', '"voxels_sha256": "0'))
    before = file.read_bytes()
    work = desk.open_path("scan.nii.gz")
    assert work.session.objects == []
    assert work.warning.startswith("the proposal is not used")
    assert file.read_bytes() == before
