"""Our own interface, over a real socket, with a model that needs no weights."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.errors import InputError, ModelError
from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.prompts import Box, Mask, Points
from promptseg.prompts.mask import to_rle
from promptseg.segment.session import Session
from promptseg.serve.changes import unpacked
from promptseg.serve.desk import Desk
from promptseg.serve.limits import Limits
from promptseg.serve.refusals import FullError
from promptseg.serve.web.bodies import Prompting, schema
from promptseg.serve.web.own import Own
from serve.conftest import BOX_A, BOX_B, SHAPE, TOKEN, A, B, Client, Running
from serve.fake_server import OPTIONS, bright

Full = dict[str, NDArray[np.bool_]]


def patched(full: Full, change: dict[str, Any]) -> Full:
    """The masks a client has after a change."""
    if change["since"] == 0:
        full = {}
    for entry in change["regions"]:
        region, mask = unpacked(entry)
        full.setdefault(entry["object"], np.zeros(SHAPE, bool))[region] = mask
    if "state" in change:
        there = {o["name"] for o in change["state"]["objects"]}
        full = {name: mask for name, mask in full.items() if name in there}
    return full


def settled(client: Client, at: str, since: int = 0) -> dict[str, Any]:
    end = time.monotonic() + 180  # a machine under load is no fault
    while True:
        change: dict[str, Any] = client.get(f"{at}/changes?since={since}&wait=20").json
        if not change["following"]:
            return change
        assert time.monotonic() < end


def test_the_prompted_slice_comes_first_and_the_others_follow(server: Running) -> None:
    client = server.client
    at = client.open()
    first = client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a").json
    assert [e["region"][0] for e in first["regions"]] == [[10, 11]]
    full = patched({}, first)
    np.testing.assert_array_equal(full["a"][10], A[10])
    rest = settled(client, at, first["revision"])
    assert rest["since"] == first["revision"]
    full = patched(full, rest)
    np.testing.assert_array_equal(full["a"], A)
    state = client.get(at).json
    assert state["objects"][0]["prompts"] == [
        {"kind": "box", "axis": "z", "slice": 10, "box": BOX_A}
    ]
    assert state["objects"][0]["region"] == [[5, 16], [15, 26], [7, 18]]
    assert state["steps"] == ["start", "box on a"]


def test_slices_that_fail_are_told_to_whoever_asks(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only to who listens: a client that polls would take one slice for the whole object."""
    client = server.client
    at = client.open()
    spread = Session.spread
    failed: list[Session] = []

    def without_memory(session: Session) -> list[str]:
        if session.unspread and not failed:
            failed.append(session)
            raise ModelError("a device with enough memory", "none left")
        return spread(session)

    monkeypatch.setattr(Session, "spread", without_memory)
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="liver")
    warning = settled(client, at)["warning"]
    assert warning.startswith("liver: on the prompted slices alone")
    assert "a device with enough memory" in warning
    assert client.get(at).json["warning"] == warning
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="liver")
    assert settled(client, at)["warning"] == "", "the next attempt"
    np.testing.assert_array_equal(patched({}, settled(client, at))["liver"], A)


def test_what_travels_is_the_changed_box_alone(server: Running) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
    full = patched({}, settled(client, at))
    revision = client.get(at).json["revision"]
    brushed = A[10].copy()
    brushed[30:32, 30:33] = True
    mask = {"size": list(SHAPE[1:]), "rle": to_rle(brushed)}
    change = client.post(
        f"{at}/prompts", mask=mask, slice=10, object="a", spread=False, since=revision
    ).json
    assert [e["region"] for e in change["regions"]] == [[[10, 11], [30, 32], [30, 33]]]
    full = patched(full, change)
    np.testing.assert_array_equal(full["a"][10], brushed)
    np.testing.assert_array_equal(full["a"][9], A[9])


def test_a_session_over_the_wire_is_the_session_alone(server: Running, root: Path) -> None:
    """Boxes, clicks along another axis, a brushed slice, in a hurry: the masks are those of Python."""
    client = server.client
    at = client.open()
    brushed = np.zeros(SHAPE[1:], bool)
    brushed[18:22, 10:14] = True
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
    client.post(f"{at}/prompts", box=BOX_B, slice=10, object="b")
    runs = {"size": list(SHAPE[1:]), "rle": to_rle(brushed)}
    client.post(f"{at}/prompts", mask=runs, slice=12, object="a")
    client.post(f"{at}/prompts", points=[[36, 10, 1]], axis="y", slice=20, object="a")
    full = patched({}, settled(client, at))
    alone = Session(bright(), read(root / "scan.nii.gz"), OPTIONS)
    alone.add(Box(tuple(BOX_A), 10, "a"))  # type: ignore[arg-type]
    alone.add(Box(tuple(BOX_B), 10, "b"))  # type: ignore[arg-type]
    alone.add(Mask(brushed, 12, "a", as_drawn=True))
    alone.add(Points(((36.0, 10.0),), (1,), 20, "a", axis="y"))
    for name in ("a", "b"):
        np.testing.assert_array_equal(full[name], alone.result()[name])
    for _ in range(3):
        back = client.post(f"{at}/undo").json
    assert [o["name"] for o in back["state"]["objects"]] == ["a"]
    np.testing.assert_array_equal(patched({}, settled(client, at))["a"], A)
    client.post(f"{at}/redo", to=4)
    np.testing.assert_array_equal(patched({}, settled(client, at))["a"], alone.result()["a"])


def test_of_the_steps_only_those_travel_that_changed(server: Running) -> None:
    client = server.client
    at = client.open()
    steps: list[str] = []
    revision = client.get(at).json["revision"]

    def told(change: dict[str, Any]) -> int:
        nonlocal steps, revision
        state, revision = change["state"], change["revision"]
        steps = steps[: state["steps_from"]] + state["steps"]
        assert steps == client.get(at).json["steps"]
        return len(state["steps"])

    assert told(client.get(f"{at}/changes").json) == 1
    for number in range(80):  # more than the revisions that are remembered
        assert told(client.post(f"{at}/objects", name=f"object {number}").json) == 1
    for _ in range(3):
        assert told(client.post(f"{at}/undo").json) == 0
    branch = client.post(f"{at}/objects", name="another").json
    assert (branch["state"]["steps_from"], told(branch)) == (78, 1)
    assert told(client.put(f"{at}/objects", object="another", select=True).json) == 0
    assert told(client.get(f"{at}/changes?since={revision - 3}").json) == 1
    assert told(client.get(f"{at}/changes?since=1").json) == 79, "forgotten: all of them"
    assert told(client.get(f"{at}/changes?since={revision}").json) == 0


def test_options_that_a_session_does_not_take_are_named(server: Running) -> None:
    client = server.client
    at = client.open(window="percentile", propagate="box")
    assert client.get(at).json["warning"] == ""
    client.post(f"{at}/prompts", box=BOX_A, slice=10, spread=False)
    client.ask("DELETE", at)
    at = client.open(window="percentile")
    assert client.get(at).json["warning"] == ""
    client.ask("DELETE", at)
    at = client.open(window="lung", modality="CT", axis="z")
    state = client.get(at).json
    assert "percentile" in state["image"]["window"]["rule"]
    warning = state["warning"]
    assert "window lung is not used: the work on this image began with percentile" in warning
    assert "modality CT is not used: the work on this image began with no modality given" in warning
    assert "axis" not in warning
    client.ask("DELETE", at)
    at = client.open(window="lung", afresh=True)
    state = client.get(at).json
    assert "percentile" not in state["image"]["window"]["rule"]
    assert state["warning"] == ""


def test_a_beginning_afresh_that_is_refused_leaves_the_earlier_session(server: Running) -> None:
    client, desk = server.client, server.desk
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="liver", spread=False)
    client.ask("DELETE", at)
    assert client.post("/api/sessions", path="scan.nii.gz", afresh=True, window="x").status == 400
    at = client.open()
    assert [o["name"] for o in client.get(at).json["objects"]] == ["liver"]
    client.ask("DELETE", at)
    at = client.open(afresh=True)
    assert client.get(at).json["objects"] == []
    client.ask("DELETE", at)
    assert client.get(client.open()).json["objects"] == [], "the empty one is the session now"
    kept = desk.folder.session_file("scan.nii.gz").parent  # type: ignore[union-attr]
    assert len(list(kept.glob("session-*.jsonl"))) == 1


@pytest.mark.parametrize("what", ["memory", "disk"])
def test_a_session_that_cannot_be_read_now_is_there_later(
    server: Running,
    monkeypatch: pytest.MonkeyPatch,
    unreadable: Callable[[str], None],
    what: str,
) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="liver", spread=False)
    client.ask("DELETE", at)

    def short(*_: object) -> None:
        raise InputError("an image that fits into 1 MiB of free memory", "2 MiB")

    if what == "memory":
        monkeypatch.setattr("promptseg.segment.session_steps.require_memory", short)
    else:
        unreadable("session.jsonl")
    refused = client.post("/api/sessions", path="scan.nii.gz")
    assert refused.status == 400
    assert "try again, or begin afresh" in refused.json["detail"]
    monkeypatch.undo()
    state = client.get(client.open()).json
    assert ([o["name"] for o in state["objects"]], state["warning"]) == (["liver"], "")


def test_objects_are_named_coloured_and_removed(server: Running) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/objects", name="a", colour=[1, 2, 3])
    client.post(f"{at}/prompts", box=BOX_A, slice=10)
    settled(client, at)
    client.put(f"{at}/objects", object="a", name="liver")
    state = client.post(f"{at}/objects").json["state"]
    assert next((o["name"], o["colour"], o["label"]) for o in state["objects"]) == (
        *("liver", [1, 2, 3], 1),
    )
    assert (state["objects"][1]["name"], state["current"]) == ("object 1", "object 1")
    assert client.put(f"{at}/objects", object="liver", select=True).json["state"]["current"] == (
        "liver"
    )
    gone = client.put(f"{at}/objects", object="liver", remove=True).json["state"]
    assert [o["name"] for o in gone["objects"]] == ["object 1"]
    assert client.put(f"{at}/objects", object="liver", remove=True).status == 400
    client.post(f"{at}/undo")
    found = client.get(f"{at}/measurements").json
    assert found["liver"]["voxels"] == A.sum()
    ended = client.ask("DELETE", at)
    assert ended.json == {"closed": True}
    again = client.get(client.open()).json
    assert next(o["colour"] for o in again["objects"]) == [1, 2, 3]


def test_voxels_are_those_of_the_file(server: Running, root: Path) -> None:
    client, image = server.client, read(root / "scan.nii.gz")
    at = client.open()
    for axis, shape in (("z", (3, 40, 48)), ("y", (3, 20, 48)), ("x", (3, 20, 40))):
        answer = client.get(f"{at}/slices?axis={axis}&index=9&count=3")
        assert answer.headers["x-shape"] == ",".join(map(str, shape))
        found = np.frombuffer(answer.body, f"<{answer.headers['x-dtype']}").reshape(shape)
        wanted = np.stack([image.slice(k, axis) for k in (9, 10, 11)])  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, wanted)
    shown = client.get(f"{at}/slices?index=10&lower=0&upper=400")
    assert np.frombuffer(shown.body, np.uint8).max() == 127
    for query in ("index=20", "index=-1", "count=0", "index=x", "axis=q", "lower=3&upper=1"):
        assert client.get(f"{at}/slices?{query}").status == 400


def test_sides_of_an_asymmetric_volume(server: Running, root: Path) -> None:
    """Written as RAS+: our array grows to the left, the back and the head as DICOM's would."""
    state = server.client.get(server.client.open()).json
    assert state["image"]["sides"] == {
        "z": ["R", "L", "A", "P"],
        "y": ["R", "L", "I", "S"],
        "x": ["A", "P", "I", "S"],
    }


def test_results_are_saved_and_never_over_anything(server: Running, root: Path) -> None:
    client = server.client
    at = client.open()
    assert client.post(f"{at}/save", path="out/a.nii.gz").status == 400, "nothing to save"
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
    settled(client, at)
    assert client.post(f"{at}/save", path="out/a.nii.gz").json["path"] == "out/a.nii.gz"
    found = read_masks(root / "out" / "a.nii.gz", read(root / "scan.nii.gz"))
    np.testing.assert_array_equal(found["a"], A)
    assert client.post(f"{at}/save", path="out/a.nii.gz").status == 409
    assert client.post(f"{at}/save", path="out/a.nii.gz", overwrite=True).status == 200
    before = (root / "scan.nii.gz").read_bytes()
    for path in ("scan.nii.gz", "../b.nii.gz", "/tmp/b.nii.gz", ".promptseg/x.nii.gz", "b.xyz", ""):
        assert client.post(f"{at}/save", path=path, overwrite=True).status == 400, path
    assert (root / "scan.nii.gz").read_bytes() == before
    entries = {e["path"]: e for e in client.get("/api/images?folder=out").json["entries"]}
    assert entries["out/a.nii.gz"]["result"]
    folder = client.get(f"{at}/download?ending=.ome.zarr")
    assert (folder.status, "which is a folder" in folder.json["detail"]) == (400, True)
    npz = client.get(f"{at}/download?ending=.npz")
    with np.load(io.BytesIO(npz.body)) as archive:
        assert archive["segs"].sum() == A.sum()


def test_the_list_of_a_folder_with_states_and_notes(server: Running, root: Path) -> None:
    client = server.client
    (root / "sub").mkdir()
    (root / "notes.txt").write_text("no image")
    entries = client.get("/api/images").json["entries"]
    assert [(e["name"], e["kind"]) for e in entries] == [
        ("scan.nii.gz", "image"),
        ("sub", "folder"),
    ]
    assert (entries[0]["state"], entries[0]["open"]) == ("to do", False)
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10)
    settled(client, at)
    entry = client.get("/api/images").json["entries"][0]
    assert (entry["state"], entry["open"], entry["session"]) == ("begun", True, True)
    client.put("/api/images", path="scan.nii.gz", state="flagged", note="look again")
    client.post(f"{at}/undo")
    entry = client.get("/api/images").json["entries"][0]
    assert (entry["state"], entry["note"]) == ("flagged", "look again")
    assert client.put("/api/images", path="scan.nii.gz", state="lost").status == 400
    assert client.put("/api/images", path="nothing.nii.gz", state="done").status == 404


def test_links_that_lead_round_in_circles_hide_nothing(server: Running, root: Path) -> None:
    (root / "self").symlink_to(root / "self")
    (root / "self.nii.gz").symlink_to(root / "self.nii.gz")
    (root / "deep").mkdir()
    (root / "deep" / "up").symlink_to(root)
    (root / "deep" / "other.nii.gz").write_bytes((root / "scan.nii.gz").read_bytes())
    (root / "again").symlink_to(root / "deep")
    answer = server.client.get("/api/images")
    assert answer.status == 200
    assert [e["name"] for e in answer.json["entries"]] == ["again", "deep", "scan.nii.gz"]
    assert server.client.post("/api/sessions", path="self.nii.gz").status == 404
    assert server.client.get("/info/").json["datastore"]["total"] == 2, "each once"
    assert set(server.client.get("/datastore/").json["objects"]) == {
        *("scan.nii.gz", "again/other.nii.gz"),
    }


def test_a_second_window_is_refused_or_takes_over(server: Running) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10)
    second = client.post("/api/sessions", path="./scan.nii.gz")
    assert (second.status, "another window" in second.json["detail"]) == (409, True)
    taken = client.open(take_over=True)
    answer = client.post(f"{at}/undo")
    assert (answer.status, "taken over" in answer.json["detail"]) == (410, True)
    assert client.get(taken).json["steps"] == ["start", "box on object 1"]
    assert client.get("/api/sessions/nobody").status == 404
    assert client.get(f"/api/images?folder={'a' * 5000}").status == 404, "no file is called so"
    answer = client.ask("PATCH", "/api/sessions")
    assert (answer.status, "another method" in answer.json["detail"]) == (405, True)


def test_an_array_is_uploaded_and_prompted(server: Running) -> None:
    client = server.client
    stream = io.BytesIO()
    np.save(stream, np.where(A, 200, 0).astype(np.uint8))
    meta = {"X-Meta": json.dumps({"spacing": [1, 1, 2], "modality": "CT"})}
    answer = client.ask("POST", "/api/uploads", stream.getvalue(), meta)
    assert answer.json["image"]["spacing"] == [1, 1, 2]
    at = f"/api/sessions/{answer.json['session']}"
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
    np.testing.assert_array_equal(patched({}, settled(client, at))["a"], A)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    wrong: list[bytes] = [b"", b"\x93NUMPY", stream.getvalue()[:-1], pickled.getvalue()]
    huge = stream.getvalue().replace(b"(20, 40, 48)", b"(1<<40, 9)  ")
    large = stream.getvalue().replace(b"(20, 40, 48)", b"(99999,9999)")
    broken = stream.getvalue().replace(b"(20, 40, 48)", b"(20, 40, \xd8, ")
    for body in (*wrong, huge, large, broken):
        assert client.ask("POST", "/api/uploads", body, meta).status == 400
    bad = {"X-Meta": json.dumps({"spacing": [0, 0, 0]})}
    assert client.ask("POST", "/api/uploads", stream.getvalue(), bad).status == 400


def test_previews_are_no_steps(server: Running) -> None:
    client = server.client
    at = client.open()
    seen = client.post(f"{at}/preview", points=[[12, 20, 1]], slice=10).json
    region, mask = unpacked(seen)
    np.testing.assert_array_equal(mask, A[region])
    assert region[0] == slice(10, 11)
    assert client.get(at).json["steps"] == ["start"]
    nothing = client.post(f"{at}/preview", points=[[2, 2, 1]], slice=10).json
    assert nothing["region"] is None


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"box": [0, 0, 100, 100], "slice": 10}, "inside the image"),
        ({"box": [0, 0, 5, 5], "slice": 20}, "a slice from 0 to 19"),
        ({"box": [0, 0, 5, 5]}, "a slice for a box"),
        ({"box": [0, 0, 5, 5], "points": [[1, 1, 1]], "slice": 1}, "got box and points"),
        ({}, "one of box, box3d"),
        ({"points": [[1, 1, 2]], "slice": 1}, "1 (inside)"),
        ({"points": [[1, 1]], "slice": 1}, "points [x, y, label]"),
        ({"mask": {"size": [1, 1], "rle": "0:1"}, "slice": 1}, "a mask with size [40, 48]"),
        ({"mask": {"size": [40, 48], "rle": "0:9999"}, "slice": 1}, "RLE start:length"),
        ({"marker": {"long": [[1, 1]]}, "slice": 1}, "two ends"),
        ({"box": "1,2,3,4", "slice": 1}, "box to be a list"),
        ({"boxx": [1, 2, 3, 4]}, "the fields object"),
        ({"box": [0, 0, 5, 5], "slice": True}, "slice to be a whole number"),
    ],
)
def test_prompts_that_make_no_sense_are_refused_in_one_line(
    server: Running, body: dict[str, Any], part: str
) -> None:
    at = server.client.open()
    answer = server.client.post(f"{at}/prompts", **body)
    assert answer.status == 400
    assert part in answer.json["detail"]
    assert "\n" not in answer.json["detail"]
    assert server.client.get(at).json["steps"] == ["start"]


def test_a_model_that_takes_no_clicks_says_which_does(server: Running) -> None:
    server.desk.models["lite-medsam"] = bright("lite-medsam")
    at = server.client.open(model="lite-medsam")
    answer = server.client.post(f"{at}/prompts", points=[[12, 20, 1]], slice=10)
    assert answer.status == 400
    assert "promptseg-lite" in answer.json["detail"]
    assert server.client.post("/api/sessions", path="scan.nii.gz", model="x").status == 400


def test_limits_are_refused_with_a_clear_message(server: Running, root: Path) -> None:
    client, desk = server.client, server.desk
    desk.limits = Limits(sessions=1)
    client.open()
    (root / "other.nii.gz").write_bytes((root / "scan.nii.gz").read_bytes())
    full = client.post("/api/sessions", path="other.nii.gz")
    assert (full.status, full.headers["retry-after"]) == (503, "5")
    assert "at most 1 sessions" in full.json["detail"]
    desk.limits = Limits(upload_mib=1)
    for size in (2 << 20, 32 << 20):  # more than lies in the buffers of a connection
        large = client.ask("POST", "/api/uploads", bytes(size))
        assert (large.status, "at most" in large.json["detail"]) == (413, True)


def test_a_body_that_does_not_say_its_size_is_refused_as_well(server: Running) -> None:
    server.desk.limits = Limits(upload_mib=1)
    at = http.client.HTTPConnection("127.0.0.1", server.client.port, timeout=60)
    pieces = (bytes(1 << 20) for _ in range(32))
    at.request("POST", "/api/uploads", pieces, server.client.headers, encode_chunked=True)
    assert at.getresponse().status == 413
    at.close()


def test_a_lease_that_is_lost_is_regained_where_it_was(server: Running) -> None:
    client, desk = server.client, server.desk
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
    settled(client, at)
    now = time.monotonic()
    for work in desk.works:
        work.lease.clock = lambda: now + 1e6
    answer = client.post(f"{at}/undo")
    assert (answer.status, "nothing was heard" in answer.json["detail"]) == (410, True)
    full = patched({}, settled(client, client.open()))
    np.testing.assert_array_equal(full["a"], A)


def test_events_tell_of_progress_and_the_end(server: Running) -> None:
    websockets = pytest.importorskip("websockets.sync.client")
    client = server.client
    at = client.open()
    url = f"ws://127.0.0.1:{client.port}{at}/events"
    header = {"Authorization": f"Bearer {TOKEN}"}
    with websockets.connect(url, additional_headers=header) as socket:
        socket.send(json.dumps({"type": "look", "axis": "z", "slice": 3}))
        socket.send("no json")
        client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a")
        events = []
        while not events or events[-1]["type"] != "changed":
            events.append(json.loads(socket.recv(timeout=60)))
        change = events[-1]
        full = patched(patched({}, {"since": 0, "regions": []}), {**change, "since": 1})
        assert full["a"].any(axis=(1, 2)).sum() >= 10
        assert "stepped" in {e["type"] for e in events}
        (work,) = server.desk.works
        assert work.focus[0] == "z"
        client.ask("DELETE", at)
        while json.loads(socket.recv(timeout=60))["type"] != "closed":
            pass


def test_cancel_leaves_what_was_answered(server: Running) -> None:
    """The device is held, so that following cannot begin before it is cancelled."""
    from promptseg.serve.turns import Job, Urgency

    client = server.client
    at = client.open()
    (work,) = server.desk.works
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a", spread=False)
    client.post(f"{at}/undo")
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with work.turns.take(Job("other", Urgency.CLICK)):
            held.set()
            free.wait(20)

    thread = threading.Thread(target=hold, daemon=True)
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a", spread=True)
    settled(client, at)
    client.post(f"{at}/undo")
    thread.start()
    held.wait(20)
    box = Box(tuple(BOX_A), 10, "a")  # type: ignore[arg-type]
    work.change(lambda: work.session.add(box, spread=False))
    assert work.propagating
    change = client.post(f"{at}/cancel").json
    free.set()
    thread.join(180)
    assert not change["following"]
    full = patched({}, settled(client, at))
    assert full["a"].sum() == A[10].sum()


def test_a_click_comes_before_the_following_that_it_interrupts(server: Running) -> None:
    """Interrupted, following begins again: not before the click that interrupted it."""
    from promptseg.serve.turns import Job, Urgency

    server.client.open()
    (work,) = server.desk.works
    interrupt = work._interrupt

    def slowly() -> None:  # time enough for following to begin again
        interrupt()
        time.sleep(0.3)

    box = Box(tuple(BOX_A), 10, "a")  # type: ignore[arg-type]
    ended = threading.Event()
    with work.turns.take(Job("other", Urgency.CLICK)):  # following waits in the queue
        work.change(lambda: work.session.add(box, spread=False))
        assert work.propagating
        work._interrupt = slowly  # type: ignore[method-assign]
        threading.Thread(target=lambda: (work.cancel(), ended.set()), daemon=True).start()
        assert ended.wait(10)
    assert not work.propagating


def test_as_many_sessions_as_are_allowed_may_begin_at_once(root: Path) -> None:
    """A session that has just begun is counted once, in no moment twice."""
    desk = Desk({"bright": bright()}, None, Limits(sessions=8), OPTIONS, encode=False)
    image = read(root / "scan.nii.gz")
    for _ in range(40):
        with ThreadPoolExecutor(8) as pool:
            works = list(pool.map(lambda _: desk.open_image(image), range(8)))
        with pytest.raises(FullError):
            desk.open_image(image)
        for work in works:
            desk.close(work.id)
    desk.stop()


def test_eight_clients_at_once_get_the_answers_of_a_session_alone(
    server: Running, root: Path
) -> None:
    rng = np.random.default_rng(0)
    images = []
    for k in range(8):
        values = rng.integers(0, 100, SHAPE).astype(np.int16)
        values[A] = 200
        values[B] = 200 if k % 2 else 0
        stream = io.BytesIO()
        np.save(stream, values)
        images.append((values, stream.getvalue()))
    boxes = [BOX_A if k % 2 else [6, 14, 18, 26] for k in range(8)]
    found: dict[int, NDArray[np.bool_]] = {}

    def work(k: int) -> None:
        client = Client(server.client.port)
        answer = client.ask("POST", "/api/uploads", images[k][1], {"X-Meta": '{"modality":"CT"}'})
        assert answer.status == 200, answer.body
        at = f"/api/sessions/{answer.json['session']}"
        client.post(f"{at}/prompts", box=boxes[k], slice=10, object="a")
        client.post(f"{at}/prompts", points=[[36, 20, 1]], slice=10, object="a")
        client.post(f"{at}/prompts", box=boxes[k], slice=11, object="a")
        found[k] = patched({}, settled(client, at)).get("a", np.zeros(SHAPE, bool))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    for k in range(8):
        from promptseg.image import Image

        alone = Session(bright(), Image.from_array(images[k][0], "CT"), OPTIONS)
        alone.add_box(boxes[k], slice=10, object="a")
        alone.add_point((36, 20), slice=10, object="a")
        alone.add_box(boxes[k], slice=11, object="a")
        np.testing.assert_array_equal(found[k], alone.result()["a"], err_msg=str(k))


def test_the_description_is_made_of_the_table(server: Running) -> None:
    document = server.client.get("/api/openapi.json").json
    prompts = document["paths"]["/api/sessions/{session}/prompts"]["post"]
    assert prompts["requestBody"]["content"]["application/json"]["schema"] == schema(Prompting)
    assert "both ends inside" in schema(Prompting)["properties"]["box"]["description"]
    names = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(names) == len(set(names)) == len(Own(server.desk).entries)
    assert len(names) >= 20
    for path in document["paths"]:
        assert path.startswith("/api/")


def test_slices_are_encoded_ahead_nearest_first(root: Path) -> None:
    from promptseg.serve.desk import Desk
    from promptseg.serve.folder import Folder
    from promptseg.serve.images import TurnImage

    segmenter = bright()
    desk = Desk({"bright": segmenter}, Folder(root), options=OPTIONS, encode=False)
    image = desk.open_path("scan.nii.gz").session.embedded
    assert isinstance(image, TurnImage)
    order = []
    while (index := image.next_to_encode(10)) is not None:
        image.embedding(index)
        order.append(index)
    assert order[:5] == [10, 9, 11, 8, 12]
    assert sorted(order) == list(range(20))
    small = TurnImage.of(image, image.turns, 5 * image.embedding(0).nbytes)
    while (index := small.next_to_encode(10)) is not None:
        small.embedding(index)
    assert len(small.cached) == 5, "no more than there is room for"
    desk.stop()


def test_many_requests_at_once_do_not_block_the_loop(server: Running) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = pool.map(lambda _: server.client.get("/api/health").status, range(20))
    assert list(found) == [200] * 20


def test_a_record_without_its_mask_is_asked_for_as_well(server: Running, root: Path) -> None:
    at = server.client.open()
    server.client.post(f"{at}/prompts", box=BOX_A, slice=10, spread=False)
    assert server.client.post(f"{at}/save", path="a.nii.gz").status == 200
    (root / "a.nii.gz").unlink()
    assert server.client.post(f"{at}/save", path="a.nii.gz").status == 409
    assert server.client.post(f"{at}/save", path="a.nii.gz", overwrite=True).status == 200


def test_every_time_point_has_a_session_of_its_own(server: Running, root: Path) -> None:
    values = np.stack([np.where(A, 200, 0), np.where(B, 200, 0)]).astype(np.int16)
    nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 2.0, 1.0])), root / "beating.nii.gz")
    client = server.client
    for frame, box in ((0, BOX_A), (1, BOX_B)):
        at = client.open("beating.nii.gz", frame=frame)
        client.post(f"{at}/prompts", box=box, slice=10, object=f"at {frame}", spread=False)
        client.ask("DELETE", at)
    for frame, mask in enumerate((A, B)):
        at = client.open("beating.nii.gz", frame=frame)
        state = client.get(at).json
        assert (state["steps"], state["warning"]) == (["start", f"box on at {frame}"], "")
        full = patched({}, client.get(f"{at}/changes?since=0").json)
        np.testing.assert_array_equal(full[f"at {frame}"][10], mask[10])
        client.ask("DELETE", at)
    entries = {e["path"]: e for e in client.get("/api/images").json["entries"]}
    assert entries["beating.nii.gz"]["session"]
