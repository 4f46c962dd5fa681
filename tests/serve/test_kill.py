"""A server that is killed loses nothing but the step at work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import promptseg
from promptseg.errors import OutputError
from promptseg.formats import read
from promptseg.segment.session import Session
from promptseg.segment.session_journal import Journal
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.refusals import EndedError, TakenError
from serve.conftest import BOX_A, BOX_B, Client
from serve.fake_server import OPTIONS, bright
from serve.test_own import patched, settled

TESTS = Path(__file__).resolve().parent.parent


@contextmanager
def running(root: Path) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """A server of its own; killed at the end."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    source = Path(promptseg.__file__).resolve().parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "serve.fake_server", str(root), str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{TESTS}"},
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith(f"http://127.0.0.1:{port}/?token="), said
        yield Client(port), process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_kill_and_go_on(root: Path) -> None:
    with running(root) as (client, process):
        at = client.open()
        client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
        settled(client, at)
        client.post(f"{at}/objects", name="b", colour=[9, 9, 9])
        answered = client.post(f"{at}/prompts", box=BOX_B, slice=10, object="b")
        assert answered.status == 200
        process.send_signal(signal.SIGKILL)  # as soon as the step is answered
        process.wait()
    with running(root) as (client, process):
        state = client.get(client.open()).json
        assert state["steps"] == ["start", "box on a", "new b", "box on b"]
        assert state["position"] == 3
        assert state["objects"][1]["colour"] == [9, 9, 9]
        at = f"/api/sessions/{state['session']}"
        full = patched({}, settled(client, at))  # what was being followed is followed again
        alone = Session(bright(), read(root / "scan.nii.gz"))
        alone.add_box(BOX_A, slice=10, object="a")
        alone.add_box(BOX_B, slice=10, object="b")
        for name in ("a", "b"):
            np.testing.assert_array_equal(full[name], alone.result()[name])
        client.post(f"{at}/undo")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) in (0, 130, -signal.SIGINT)
    assert not [p.name for p in root.rglob(".part-*")]


def test_a_damaged_session_is_kept_and_said(root: Path) -> None:

    folder = Folder(root)
    desk = Desk({"bright": bright()}, folder, options=OPTIONS, encode=False)
    work = desk.open_path("scan.nii.gz")
    work.change(lambda: work.session.new_object("a"))
    file = folder.session_file("scan.nii.gz")
    file.write_bytes(b"broken")
    desk.close(work.id)
    again = desk.open_path("scan.nii.gz")
    assert "the earlier session is not used" in again.warning
    assert [p.read_bytes() for p in file.parent.glob("session-*.jsonl")] == [b"broken"]
    desk.stop()


def test_two_servers_on_one_folder_do_not_write_over_each_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (
        Desk({"bright": bright()}, Folder(root), options=OPTIONS, encode=False) for _ in range(2)
    )
    first = one.open_path("scan.nii.gz")
    first.change(lambda: first.session.new_object("liver"))
    with pytest.raises(TakenError, match="another server"):
        two.open_path("scan.nii.gz")
    second = two.open_path("scan.nii.gz", take_over=True)
    assert second.session.objects == ["liver"]
    second.change(lambda: second.session.new_object("kidney"))
    with pytest.raises(EndedError, match="another server"):
        first.change(lambda: first.session.new_object("late"))
    one.stop()
    with pytest.raises(TakenError):
        one.open_path("scan.nii.gz")
    two.stop()
    third = one.open_path("scan.nii.gz")
    assert third.session.objects == ["liver", "kidney"]
    one.stop()
    place = Folder(root).session_file("scan.nii.gz").parent
    assert sorted(p.name for p in place.iterdir()) == ["image.json", "session.jsonl"]


def test_where_no_locks_can_be_had_the_work_of_both_is_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptseg.formats.exclusive._locked", lambda _: True)
    one, two = (
        Desk({"bright": bright()}, Folder(root), options=OPTIONS, encode=False) for _ in range(2)
    )
    first, second = one.open_path("scan.nii.gz"), two.open_path("scan.nii.gz", take_over=True)
    first.right = second.right = None
    first.change(lambda: first.session.new_object("liver"))
    change = second.change(lambda: second.session.new_object("kidney"))[1]
    assert "another program has changed this session" in change["warning"]
    place = Folder(root).session_file("scan.nii.gz").parent
    (aside,) = place.glob("session-*.jsonl")
    assert aside.name in change["warning"]
    assert "liver" in aside.read_text()
    one.stop()
    two.stop()
    assert two.open_path("scan.nii.gz").session.objects == ["kidney"]
    two.stop()


def test_a_step_that_cannot_be_saved_is_said_and_saved_later(root: Path) -> None:
    """As with a full disk: the step is there, and on disk with the next one."""

    desk = Desk({"bright": bright()}, Folder(root), options=OPTIONS, encode=False)
    work = desk.open_path("scan.nii.gz")
    real = Journal.write

    def full(*_: object) -> None:
        raise OutputError("an output that can be written", "no space left on the disk")

    try:
        Journal.write = full  # type: ignore[method-assign]
        change = work.change(lambda: work.session.new_object("a"))[1]
    finally:
        Journal.write = real  # type: ignore[method-assign]
    assert "no space left" in change["warning"]
    change = work.change(lambda: work.session.new_object("b"))[1]
    assert change["warning"] == ""
    desk.close(work.id)
    assert desk.open_path("scan.nii.gz").session.objects == ["a", "b"]
    desk.stop()


@pytest.mark.parametrize("afresh", [False, True])
def test_a_step_at_work_is_not_written_over_who_took_the_image_over(
    root: Path, afresh: bool
) -> None:
    folder = Folder(root)
    desk = Desk({"bright": bright()}, folder, options=OPTIONS, encode=False)
    first = desk.open_path("scan.nii.gz")
    first.change(lambda: first.session.new_object("a"))
    begun, go_on, refused = threading.Event(), threading.Event(), list[Exception]()

    def slow() -> None:
        begun.set()
        go_on.wait(60)
        first.session.new_object("late")

    def ask() -> None:
        try:
            first.change(slow)
        except EndedError as error:
            refused.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(60)
    second = desk.open_path("scan.nii.gz", take_over=True, afresh=afresh)
    second.change(lambda: second.session.new_object("mine"))
    kept = folder.session_file("scan.nii.gz").read_bytes()
    go_on.set()
    thread.join(60)
    assert len(refused) == 1
    assert folder.session_file("scan.nii.gz").read_bytes() == kept
    desk.stop()
    again = Desk({"bright": bright()}, Folder(root), options=OPTIONS, encode=False)
    wanted = ["mine"] if afresh else ["a", "mine"]
    assert again.open_path("scan.nii.gz").session.objects == wanted
    again.stop()
