"""Annotation times of sessions: logged on request, and what the study's own reader makes of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from promptseg.errors import InputError
from promptseg.prompts.mask import to_rle
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from promptseg.serve.options import ServeJob
from promptseg.serve.run import serve
from promptseg.timing import StudyLog, read_log, study_table
from serve.conftest import BOX_A, A, Running
from serve.fake_server import OPTIONS, bright


def log_of(root: Path) -> Path:
    return root / ".promptseg" / "times.jsonl"


def test_nothing_is_logged_unless_somebody_asks(server: Running, root: Path) -> None:
    at = server.client.open()
    assert server.client.post(f"{at}/prompts", box=BOX_A, slice=10).status == 200
    assert server.client.get(at).json["times"] is None
    assert server.client.post(f"{at}/times", do="stop").status == 400
    assert server.client.ask("DELETE", at).status == 200
    assert not log_of(root).exists()


def test_phases_and_the_models_time_add_up_to_what_went_by(server: Running, root: Path) -> None:
    client = server.client
    at = client.open()
    begun = time.monotonic()
    started = client.post(f"{at}/times", do="start", expert="1", phase="marker", case="010")
    assert started.json["times"] | {"seconds": 0} == {
        "case": "010",
        "expert": "1",
        "phase": "marker",
        "seconds": 0,
        "paused": False,
    }
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
    assert not client.get(f"{at}/changes?since=0&wait=20").json["following"]
    client.post(f"{at}/times", do="start", expert="1", phase="refinement", case="010")
    paused = client.post(f"{at}/times", do="pause").json["times"]
    assert paused["paused"]
    stood = time.monotonic()
    client.post(f"{at}/prompts", points=[[12, 20, 1]], slice=11, object="a", spread=False)
    time.sleep(0.2)
    assert client.get(at).json["times"]["seconds"] == paused["seconds"]  # after the model, too
    stood = time.monotonic() - stood
    client.post(f"{at}/times", do="resume")
    client.ask("DELETE", at)  # to leave the image ends the phase
    took = time.monotonic() - begun

    found = read_log(log_of(root))
    assert found.open == {}
    counted = Counter(f.phase for f in found.finished)
    assert counted["marker"] == counted["refinement"] == 1
    assert counted["inference"] >= 2  # the slice, what followed, and the click
    assert {(f.study, f.case, f.expert) for f in found.finished} == {("times", "010", "1")}
    own = sum(f.seconds for f in found.finished if f.phase != "inference")
    assert own <= took - 0.2 + 0.01
    assert sum(f.seconds for f in found.finished) <= took + 0.01
    assert sum(f.seconds for f in found.finished) >= took - stood - 1  # requests on a busy machine
    row = study_table(found.finished).rows[0]
    assert row.case == "010"


def test_by_hand_means_without_the_model(server: Running, root: Path) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/times", do="start", expert="1", phase="manual")
    for asked in ({"box": BOX_A}, {"points": [[12, 20, 1]]}):
        refused = client.post(f"{at}/prompts", slice=10, **asked)
        assert refused.status == 400
        assert "while manual work is timed" in refused.json["detail"]
    drawn = {"size": list(A[10].shape), "rle": to_rle(A[10])}
    refused = client.post(f"{at}/prompts", mask=drawn, slice=10)  # followed by the model
    assert refused.status == 400
    assert client.post(f"{at}/prompts", mask=drawn, slice=10, spread=False).status == 200
    client.post(f"{at}/times", do="stop")
    assert client.post(f"{at}/prompts", box=BOX_A, slice=10).status == 200
    found = read_log(log_of(root)).finished
    assert [(f.case, f.phase) for f in found] == [("scan.nii.gz", "manual")]


def test_a_phase_that_was_discarded_or_left_open_elsewhere(server: Running, root: Path) -> None:
    client = server.client
    StudyLog(log_of(root)).start("009", "1", "marker")  # as after a crash
    time.sleep(0.6)
    at = client.open()
    refused = client.post(f"{at}/times", do="start", expert="1", phase="marker")
    assert (refused.status, refused.json["kind"]) == (400, "StudyError")
    again = client.post(f"{at}/times", do="start", expert="1", phase="marker", end_open=True)
    assert again.json["times"]["case"] == "scan.nii.gz"
    found = read_log(log_of(root))
    assert [f.case for f in found.finished] == ["009"]
    assert found.finished[0].seconds < 0.3
    client.post(f"{at}/times", do="discard")
    assert len(read_log(log_of(root)).finished) == 1
    assert read_log(log_of(root)).open == {}


@pytest.mark.parametrize(
    "body",
    [
        {"do": "start", "phase": "marker"},
        {"do": "start", "phase": "inference", "expert": "1"},
        {"do": "start", "phase": "marker", "expert": " "},
        {"do": "start", "phase": "marker", "expert": "x" * 201},
        {"do": "pause"},
        {"do": "fly"},
        {},
    ],
)
def test_what_makes_no_sense_is_refused_and_not_logged(
    server: Running, root: Path, body: dict[str, str]
) -> None:
    at = server.client.open()
    refused = server.client.ask("POST", f"{at}/times", body)
    assert refused.status == 400
    assert refused.json["detail"].startswith("expected ")
    assert not log_of(root).exists()


def test_who_vanishes_is_timed_until_last_heard_of(root: Path) -> None:
    """The lease runs out; the time since the model's last answer is left out."""
    seconds = [0.0]
    desk = Desk({"b": bright()}, Folder(root), Limits(), OPTIONS, lambda: seconds[0], False)
    work = desk.open_path("scan.nii.gz")
    work.times.start("1", "marker")
    time.sleep(0.6)
    seconds[0] = 1e6
    desk.sweep()
    (only,) = read_log(log_of(root)).finished
    assert only.seconds < 0.3
    desk.stop()


def test_a_log_that_fails_ends_the_timing_and_not_the_work(server: Running, root: Path) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/times", do="start", expert="1", phase="marker")
    log_of(root).write_text("not a log\n")
    answer = client.post(f"{at}/prompts", box=BOX_A, slice=10, spread=False)
    assert answer.status == 200
    assert "times are no longer logged" in answer.json["warning"]
    assert answer.json["state"]["times"] is None
    assert log_of(root).read_text() == "not a log\n"


def test_a_log_elsewhere_is_named_at_the_start(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.jsonl"
    desk = Desk({"b": bright()}, Folder(root), options=OPTIONS, encode=False, times=file)
    work = desk.open_path("scan.nii.gz")
    work.times.start("2", "manual")
    desk.stop()
    assert json.loads(file.read_text().splitlines()[-1])["study"] == "study"
    assert not log_of(root).exists()
    file.write_text("not a log\n")
    with pytest.raises(InputError, match="log"):
        serve(ServeJob(root=root, times=file, port=0), models=lambda _: {})
