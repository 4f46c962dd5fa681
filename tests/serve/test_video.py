"""Videos over a real socket: prompts, tracking, corrections, undo, results, and what is refused."""

from __future__ import annotations

import base64
import csv
import errno
import http.client
import io
import json
import os
import random
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from conformance.bright_memory import bright_memory
from formats.dicom_makers import write_object
from formats.video_makers import cut, write_video
from promptseg.inference.predictor import Predictor
from promptseg.jobs.video import job as video_job
from promptseg.jobs.video import segment_video
from promptseg.segment.options import SegmentJob, SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.serve import uploads
from promptseg.serve.changes import unpacked
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from promptseg.serve.refusals import EndedError, TakenError
from promptseg.serve.video import work as video_work
from promptseg.serve.video.videos import Videos
from serve.conftest import TOKEN, Client, Running, running
from serve.fake_server import OPTIONS, bright
from serve.test_security import anything

pytest.importorskip("av")

SIZE = (24, 40)
COUNT = 20
HIDDEN = range(8, 12)
BLOCK, BAR = [3, 6, 10, 14], [3, 18, 34, 21]


def block(k: int) -> NDArray[np.bool_]:
    """A block that moves to the right and is hidden on some frames."""
    mask = np.zeros(SIZE, dtype=bool)
    if k not in HIDDEN:
        mask[6:15, 3 + k : 11 + k] = True
    return mask


def bar(k: int) -> NDArray[np.bool_]:
    """A bar below it that stays."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[18:22, 3:35] = True
    return mask


def frame_of(k: int) -> NDArray[np.uint8]:
    frame = np.full((*SIZE, 3), 20, np.uint8)
    frame[block(k) | bar(k)] = 220
    return frame


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "clip.mkv", [frame_of(k) for k in range(COUNT)])
    return folder


def desk_on(root: Path, model: Segmenter | None = None, **limits: Any) -> Desk:
    chosen = model or Segmenter(bright_memory())
    options = OPTIONS if model else SegmentOptions()
    return Desk({"model": chosen}, Folder(root), Limits(**limits), options)


@pytest.fixture
def server(root: Path) -> Iterator[Running]:
    """With the memory of SAM 2, and a network that finds what is bright."""
    desk = desk_on(root)
    with running(desk) as found:
        yield found
    desk.stop()


def opened(client: Client, path: str = "clip.mkv", **how: Any) -> str:
    answer = client.post("/api/videos", path=path, **how)
    assert answer.status == 200, answer.body
    return f"/api/videos/{answer.json['session']}"


def prompted(client: Client, at: str, **prompt: Any) -> dict[str, Any]:
    answer = client.post(f"{at}/prompts", **prompt)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def tracked(client: Client, at: str, direction: str = "both") -> dict[str, Any]:
    answer = client.post(f"{at}/track", direction=direction)
    assert answer.status == 200, answer.body
    return rested(client, at)


def rested(client: Client, at: str) -> dict[str, Any]:
    end = time.monotonic() + 180
    while True:
        client.get(f"{at}/timeline?wait=20")
        state: dict[str, Any] = client.get(at).json
        if state["tracking"] is None:
            return state
        assert time.monotonic() < end


def masks(client: Client, at: str, name: str, count: int = COUNT) -> dict[int, NDArray[np.bool_]]:
    """What the server says of an object on every frame."""
    told = client.get(f"{at}/masks?frame=0&count={count}").json["frames"]
    found = {}
    for frame, entries in told.items():
        full = np.zeros(SIZE, dtype=bool)
        for entry in entries:
            if entry["object"] == name and entry["area"]:
                region, mask = unpacked(entry)
                full[region] = mask
                assert entry["area"] == mask.sum()
        found[int(frame)] = full
    return found


def line(client: Client, at: str, name: str) -> list[int]:
    objects = client.get(f"{at}/timeline").json["objects"]
    packed = next(one["line"] for one in objects if one["name"] == name)
    return list(zlib.decompress(base64.b64decode(packed)))


def test_what_is_tracked_is_what_the_command_line_tracks(
    server: Running, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two objects from different frames, a correction by clicks, and the files of both."""
    monkeypatch.setattr(video_job, "load_prompted", lambda _: Segmenter(bright_memory()))
    box = (f"{','.join(map(str, BLOCK))}@0=block", f"{','.join(map(str, BAR))}@12=bar")
    first = SegmentJob(input=root / "clip.mkv", output=tmp_path / "first", quiet=True, box=box)
    segment_video(first)

    client = server.client
    at = opened(client)
    state = prompted(client, at, frame=0, object="block", box=BLOCK)
    assert state["objects"][0]["frames"] == 1, "answered on its frame at once"
    prompted(client, at, frame=12, object="bar", box=BAR)
    state = tracked(client, at)
    assert state["steps"][-1] == "tracked block, bar"
    for k, mask in masks(client, at, "block").items():
        np.testing.assert_array_equal(mask, block(k))
    for k, mask in masks(client, at, "bar").items():
        np.testing.assert_array_equal(mask, bar(k))
    saved = client.post(f"{at}/results", folder="first", what=["masks", "areas", "labels"])
    assert saved.status == 200, saved.body
    assert planes(root / "first" / "masks.zip") == planes(tmp_path / "first" / "masks.zip")
    assert (root / "first/areas.csv").read_bytes() == (tmp_path / "first/areas.csv").read_bytes()

    click = ("30,20,-@15=bar", "5,20,+@15=bar")
    segment_video(SegmentJob(input=root / "clip.mkv", output=tmp_path / "then", quiet=True,
                             correct=root / "first", point=click))  # fmt: skip
    prompted(client, at, frame=15, object="bar", points=[[30, 20, 0], [5, 20, 1]])
    tracked(client, at)
    client.post(f"{at}/results", folder="then", what=["masks"])
    assert planes(root / "then" / "masks.zip") == planes(tmp_path / "then" / "masks.zip")


def planes(archive: Path) -> dict[tuple[int, int], bytes]:
    """The masks of a zip by frame and label, whether it has a layer for each or not."""
    found = {}
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            plane = np.asarray(PilImage.open(io.BytesIO(content.read(name))))
            for label in np.unique(plane[plane > 0]):
                found[int(Path(name).stem), int(label)] = (plane == label).tobytes()
    return found


@pytest.mark.parametrize("card", ["mobile-sam", "lite-medsam"])
def test_models_without_memory_follow_by_the_mask_before(root: Path, card: str) -> None:
    desk = desk_on(root, bright(card))
    with running(desk) as found:
        client = found.client
        at = opened(client)
        assert client.get(at).json["remembers"] is False
        prompted(client, at, frame=4, object="bar", box=BAR)
        tracked(client, at)
        for k, mask in masks(client, at, "bar").items():
            np.testing.assert_array_equal(mask, bar(k))
        if card == "lite-medsam":
            refused = client.post(f"{at}/prompts", frame=0, points=[[5, 20, 1]])
            assert refused.status == 400
            assert "point" in refused.json["detail"]
    desk.stop()


def test_frames_are_those_of_the_video_whatever_is_left_out(server: Running) -> None:
    client = server.client
    at = opened(client, frames="2:17:3")
    state = client.get(at).json
    assert state["clip"] | {"first": 2, "last": 17, "stride": 3, "places": 6} == state["clip"]
    for frame, why in ((3, "frame 3"), (0, "frame 0"), (25, "a frame from 0 to 19")):
        refused = client.post(f"{at}/prompts", frame=frame, box=BAR)
        assert refused.status == 400
        assert why in refused.json["detail"]
        assert "\n" not in refused.json["detail"]
    prompted(client, at, frame=5, object="bar", box=BAR)
    tracked(client, at)
    told = client.get(f"{at}/masks?frame=2&count=99").json["frames"]
    assert list(told) == ["2", "5", "8", "11", "14", "17"]
    assert all(entries[0]["area"] == bar(0).sum() for entries in told.values())
    client.post(f"{at}/results", what=["areas"])
    rows = csv.DictReader(io.StringIO(client.get(f"{at}/results/areas.csv").body.decode()))
    assert [row["frame"] for row in rows] == ["2", "5", "8", "11", "14", "17"]


@pytest.mark.parametrize(
    ("direction", "where"), [("forward", range(6, COUNT)), ("backward", range(7))]
)
def test_objects_are_tracked_to_one_side(server: Running, direction: str, where: range) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=6, object="bar", box=BAR)
    tracked(client, at, direction)
    found = [k for k, mask in masks(client, at, "bar").items() if mask.any()]
    assert found == list(where)


def test_a_stroke_becomes_its_box(server: Running) -> None:
    client = server.client
    at = opened(client)
    state = prompted(client, at, frame=0, stroke=[[5, 20], [34, 18], [3, 21], [20, 19]])
    assert state["objects"][0]["prompts"] == [
        {"frame": 0, "kind": "box", "box": [3.0, 18.0, 34.0, 21.0]}
    ]
    np.testing.assert_array_equal(masks(client, at, "object 1")[0], bar(0))
    for wrong in ([[5, 20]], [[5]], [], [[5, 20], [99, 20]]):
        assert client.post(f"{at}/prompts", frame=0, stroke=wrong).status == 400


def test_the_time_line_tells_where_an_object_is_and_how_surely(server: Running) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="block", box=BLOCK)
    tracked(client, at)
    levels = line(client, at, "block")
    assert len(levels) == COUNT
    for k, level in enumerate(levels):
        assert level == 1 if k in HIDDEN else level == 3 + round(252 * 0.9)
    (one,) = client.get(f"{at}/timeline").json["objects"]
    assert (one["prompted"], one["pending"], one["doubtful"]) == ([0], [], 0)
    (told,) = client.get(at).json["objects"]
    assert (told["frames"], told["absent"], told["predicted_iou"]) == (16, 4, 0.9)
    (entry,) = client.get(f"{at}/masks?frame=9").json["frames"]["9"]
    assert entry["area"] == 0
    assert entry["presence"] < 0.5


def test_a_correction_says_what_it_changes_and_undo_takes_it_back(server: Running) -> None:
    client = server.client
    at = opened(client)
    whole = [3, 6, 34, 21]
    prompted(client, at, frame=0, object="both", box=whole)
    before = masks(client, at, "both")
    tracked(client, at)
    tracked_before = masks(client, at, "both")
    assert before[0].sum() == tracked_before[0].sum() == (block(0) | bar(0)).sum()
    state = prompted(client, at, frame=5, object="both", points=[[20, 20, 0]])
    assert state["objects"][0]["waiting"] == 1
    assert state["changed"] == []
    at_once = masks(client, at, "both")
    assert not (at_once[5] & bar(5)).any(), "answered on its frame"
    assert (at_once[6] & bar(6)).any(), "and on no other yet"
    state = tracked(client, at)
    after = masks(client, at, "both")
    changed = [k for k in range(COUNT) if not np.array_equal(after[k], tracked_before[k])]
    told = [k for first, last in state["changed"] for k in range(first, last + 1)]
    assert told == changed
    assert len(changed) > 1
    assert state["steps"][-1] == f"corrected both: {len(changed)} frames changed"
    client.post(f"{at}/undo", to=2)
    for k, mask in masks(client, at, "both").items():
        np.testing.assert_array_equal(mask, tracked_before[k])
    for _ in range(9):
        client.post(f"{at}/redo")
    for k, mask in masks(client, at, "both").items():
        np.testing.assert_array_equal(mask, after[k])
    assert client.post(f"{at}/undo", to=99).status == 400


def test_an_object_that_is_not_there_is_said_so(server: Running) -> None:
    client = server.client
    at = opened(client)
    refused = client.post(f"{at}/prompts", frame=0, object="bar", absent=True)
    assert refused.status == 400
    assert "tracked" in refused.json["detail"]
    prompted(client, at, frame=0, object="bar", box=BAR)
    tracked(client, at)
    prompted(client, at, frame=15, object="bar", absent=True)
    tracked(client, at)
    found = masks(client, at, "bar")
    assert not found[15].any()
    for k in (10, 16, COUNT - 1):  # it may come back
        np.testing.assert_array_equal(found[k], bar(k))


def test_objects_are_named_reset_and_removed(server: Running) -> None:
    client = server.client
    at = opened(client)
    client.post(f"{at}/objects")
    client.post(f"{at}/objects", name="tool")
    assert client.post(f"{at}/objects", name="tool").status == 400
    assert client.put(f"{at}/objects", object="tool", name="object 1").status == 400
    state = client.put(f"{at}/objects", object="object 1", name="bar", select=True).json
    assert ([o["name"] for o in state["objects"]], state["current"]) == (["bar", "tool"], "bar")
    prompted(client, at, frame=0, box=BAR)
    tracked(client, at)
    state = client.post(f"{at}/reset", object="bar").json
    assert state["objects"][0]["prompts"] == []
    assert not masks(client, at, "bar")[0].any()
    client.post(f"{at}/undo")
    assert masks(client, at, "bar")[5].any()
    state = client.put(f"{at}/objects", object="tool", remove=True).json
    assert [o["name"] for o in state["objects"]] == ["bar"]
    assert client.post(f"{at}/reset").json["objects"] == []
    assert client.put(f"{at}/objects", object="none", select=True).status == 400


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Tracking that waits on its seventh frame, until it is let go; gives what waits for that."""
    reached, free = threading.Event(), threading.Event()
    real = Predictor.encode
    seen = [0]

    def encode(self: Predictor, *args: Any, **how: Any) -> Any:
        if threading.current_thread().name.startswith("tracking"):
            seen[0] += 1
            if seen[0] == 7:
                reached.set()
                free.wait(60)
        return real(self, *args, **how)

    monkeypatch.setattr(Predictor, "encode", encode)

    def wait() -> None:
        assert reached.wait(60)
        threading.Timer(0.2, free.set).start()

    return wait


def test_a_stop_keeps_what_was_found_and_tracking_goes_on(
    server: Running, slow: Callable[[], None]
) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    client.post(f"{at}/track")
    for path, body in (
        ("prompts", {"frame": 3, "box": BAR}),
        ("undo", {}),
        ("track", {}),
        ("results", {"what": ["areas"]}),
    ):
        refused = client.post(f"{at}/{path}", **body)
        assert (refused.status, refused.json["kind"]) == (409, "BusyError"), path
    slow()
    stopped = client.post(f"{at}/cancel").json
    assert stopped["tracking"] is None
    assert stopped["steps"][-1].startswith("tracking bar stopped after ")
    found = [k for k, mask in masks(client, at, "bar").items() if mask.any()]
    assert 1 <= len(found) < COUNT
    state = tracked(client, at)
    assert state["steps"][-1] == "tracked bar"
    for k, mask in masks(client, at, "bar").items():
        np.testing.assert_array_equal(mask, bar(k))


def test_all_of_it_is_there_after_a_kill(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends without a word: steps, masks, and tracking that was cut off goes on."""
    desk = desk_on(root)
    with running(desk) as first:
        client = first.client
        at = opened(client)
        prompted(client, at, frame=0, object="block", box=BLOCK)
        prompted(client, at, frame=2, object="bar", box=BAR)
        tracked(client, at)
        prompted(client, at, frame=15, object="bar", points=[[30, 20, 0], [5, 20, 1]])
        tracked(client, at)
        prompted(client, at, frame=13, object="block", box=[16, 6, 23, 14])
        client.post(f"{at}/undo")
        state, seen = client.get(at).json, masks(client, at, "bar")
    again = desk_on(root)
    with running(again) as second:
        client = second.client
        assert client.get("/api/videos?path=clip.mkv").json["sessions"] == [{"frames": "0:19:1"}]
        at = opened(client)
        new = client.get(at).json
        for key in ("steps", "position", "objects", "current", "changed"):
            assert new[key] == state[key], key
        for k, mask in masks(client, at, "bar").items():
            np.testing.assert_array_equal(mask, seen[k])
        client.post(f"{at}/redo")
        assert client.get(at).json["objects"][0]["waiting"] == 1
        client.ask("DELETE", at)
        assert client.get(opened(client, frames="0:19:2")).json["objects"] == [], (
            "frames of its own"
        )
    again.stop()
    desk.stop()


@pytest.mark.slow
def test_tracking_that_was_cut_off_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kill(BaseException):
        pass

    desk = desk_on(root)
    monkeypatch.setattr("promptseg.segment.video.propagate._FRAMES_A_PART", 4)
    with running(desk) as first:
        client = first.client
        at = opened(client)
        prompted(client, at, frame=0, object="bar", box=BAR)
        real = video_work.Tracking.go
        monkeypatch.setattr(threading, "excepthook", lambda _: None)

        def die(self: Any, on_frame: Any) -> None:
            def told(done: int, of: int | None) -> None:
                if done == 10:
                    raise Kill
                on_frame(done, of)

            real(self, told)

        monkeypatch.setattr(video_work.Tracking, "go", die)
        client.post(f"{at}/track")
        time.sleep(1)
        monkeypatch.setattr(video_work.Tracking, "go", real)
        (work,) = (work for guests in desk.guests for work in guests.works)
        work.right.release()  # as the system does for a process that is killed
    again = desk_on(root)
    with running(again) as second:
        client = second.client
        at = opened(client)
        state = client.get(at).json
        assert state["steps"][-1] == "tracking bar cut off after 8 frames"
        assert "goes on from there" in state["warning"]
        there = [k for k, mask in masks(client, at, "bar").items() if mask.any()]
        assert there == list(range(8))
        encoded = desk_encoded(again)
        tracked(client, at)
        for k, mask in masks(client, at, "bar").items():
            np.testing.assert_array_equal(mask, bar(k))
        assert desk_encoded(again) - encoded <= COUNT - 8 + 2, "what was done is not done again"
    again.stop()


def videos_of(desk: Desk) -> Videos:
    """The sessions on videos of a desk."""
    return next(guests for guests in desk.guests if isinstance(guests, Videos))


def desk_encoded(desk: Desk) -> int:
    """Frames that the sessions of a desk have encoded."""
    return sum(work.clip.embedded.encoded for work in videos_of(desk).works)


def test_results_for_download(server: Running) -> None:
    client = server.client
    at = opened(client)
    assert client.post(f"{at}/results", what=["areas"]).status == 400, "nothing yet"
    prompted(client, at, frame=0, object="a/b", box=BLOCK)
    prompted(client, at, frame=0, object="bar", box=BAR)
    tracked(client, at)
    assert client.post(f"{at}/results", what=[]).status == 400
    assert "cine" in client.post(f"{at}/results", what=["seg"]).json["detail"]
    told = client.post(f"{at}/results", what=["overlay", "masks", "areas", "labels"]).json
    assert {f["name"] for f in told["files"]} == {
        *("overlay.webm", "masks.zip", "areas.csv", "labels.mkv")
    }
    for entry in told["files"]:
        answer = client.get(f"{at}/results/{entry['name']}")
        assert len(answer.body) == entry["bytes"]
        assert f"clip_{entry['name']}" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(client.get(f"{at}/results/masks.zip").body)) as archive:
        names = archive.namelist()
        assert len(names) == 2 * COUNT
        assert {Path(n).parent.name for n in names} == {"1_a_b", "2_bar"}
        last = np.asarray(PilImage.open(io.BytesIO(archive.read("2_bar/000019.png"))))
    np.testing.assert_array_equal(last == 2, bar(19))
    for name in ("x.csv", "..%2fjournal.jsonl", "%2e%2e", "..%2f..%2f..%2fclip.mkv"):
        assert client.get(f"{at}/results/{name}").status == 404
    client.ask("DELETE", at)


def test_a_cine_gets_a_seg(server: Running, root: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    write_object(
        root / "us.dcm",
        np.stack([frame_of(k) for k in range(6)]),
        frames=True,
        sop="1.2.840.10008.5.1.4.1.1.3.1",
        Modality="US",
        FrameTime=40,
    )
    client = server.client
    at = opened(client, "us.dcm", frames="0:5:2")
    clip = client.get(at).json["clip"]
    assert (clip["cine"], clip["modality"], clip["places"]) == (True, "US", 3)
    prompted(client, at, frame=2, object="bar", box=BAR)
    tracked(client, at)
    told = client.post(f"{at}/results", what=["seg", "areas"])
    assert {f["name"] for f in told.json["files"]} == {"masks.dcm", "areas.csv"}
    written = io.BytesIO(client.get(f"{at}/results/masks.dcm").body)
    seg = highdicom.seg.segread(written)
    of = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    for k in (0, 2, 4):
        pixels = seg.get_pixels_by_source_frame(of, [k + 1])
        np.testing.assert_array_equal(pixels[0, ..., 0] > 0, bar(k))


def test_results_in_the_folder_are_never_over_anything(server: Running, root: Path) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    tracked(client, at)
    body = {"what": ["areas", "masks"], "folder": "out/bar"}
    done = client.post(f"{at}/results", **body).json
    assert done["folder"] == "out/bar"
    assert {p.name for p in (root / "out/bar").iterdir()} == {
        *("areas.csv", "masks.zip", "provenance.json")
    }
    assert client.post(f"{at}/results", **body).status == 409
    assert client.post(f"{at}/results", **body, overwrite=True).status == 200
    for folder in ("", ".", "..", "../x", "/tmp/x", ".promptseg/x", "clip.mkv", "a/../../x"):
        refused = client.post(f"{at}/results", what=["areas"], folder=folder)
        assert refused.status == 400, folder
    assert {p.name for p in root.parent.iterdir()} == {"videos"}


def test_a_frame_is_the_picture_of_that_frame(server: Running) -> None:
    client = server.client
    at = opened(client)
    for k in (0, 9, 19, 3):
        answer = client.get(f"{at}/frame?frame={k}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "no-store"
        seen = np.asarray(PilImage.open(io.BytesIO(answer.body)).convert("L")) > 120
        wrong = (seen ^ (frame_of(k).mean(-1) > 120)).sum()
        assert wrong <= 4
    small = PilImage.open(io.BytesIO(client.get(f"{at}/frame?frame=0&width=20").body))
    assert small.size == (20, 12)
    for query in ("frame=20", "frame=-1", "frame=x", "frame=0&width=0", "width=-4"):
        assert client.get(f"{at}/frame?{query}").status == 400, query
    for query in ("frame=20", "frame=0&count=0", "frame=0&count=9999"):
        assert client.get(f"{at}/masks?{query}").status == 400, query


def test_two_windows(server: Running) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    refused = client.post("/api/videos", path="clip.mkv")
    assert (refused.status, refused.json["kind"]) == (409, "TakenError")
    (entry,) = client.get("/api/images").json["entries"]
    assert (entry["open"], entry["state"], entry["session"]) == (True, "begun", True)
    other = opened(client, take_over=True)
    assert client.get(at).status == 410
    assert client.get(other).json["steps"][-1] == "box on bar, frame 0"


def test_videos_count_among_the_sessions(root: Path) -> None:
    (root / "other.mkv").write_bytes((root / "clip.mkv").read_bytes())
    desk = desk_on(root, sessions=1)
    with running(desk) as found:
        at = opened(found.client)
        assert found.client.post("/api/videos", path="other.mkv").status == 503
        found.client.ask("DELETE", at)
        opened(found.client, "other.mkv")
    desk.stop()


def test_a_session_that_nobody_is_heard_of_ends(root: Path) -> None:
    now = [0.0]
    desk = Desk({"m": Segmenter(bright_memory())}, Folder(root), Limits(), clock=lambda: now[0])
    with running(desk) as found:
        at = opened(found.client)
        now[0] = 1e6
        assert found.client.get(at).status == 410
    desk.stop()


BAD = {
    "text.mp4": lambda path: path.write_text("no video"),
    "cut.mkv": lambda path: path.write_bytes(
        cut(write_video(path.with_name("w.mkv"), [frame_of(k) for k in range(9)]), 0.5).read_bytes()
    ),
    "one.mkv": lambda path: write_video(path, [np.full((*SIZE, 3), 7, np.uint8)] * 3),
}


@pytest.mark.parametrize("name", [*BAD, "none.mp4"])
def test_what_cannot_be_read_is_said_in_one_line(server: Running, root: Path, name: str) -> None:
    if name in BAD:
        BAD[name](root / name)
    refused = server.client.post("/api/videos", path=name)
    assert refused.status in (400, 404)
    assert "\n" not in refused.json["detail"]
    assert str(root.parent) not in refused.json["detail"]
    assert not server.desk.all_works


def test_a_codec_that_is_not_known(server: Running, root: Path) -> None:
    content = (root / "clip.mkv").read_bytes()
    (root / "odd.mkv").write_bytes(content.replace(b"FFV1", b"XXXX"))
    refused = server.client.get("/api/videos?path=odd.mkv")
    assert refused.status == 400
    assert "expected a codec that can be read, got odd.mkv" in refused.json["detail"]


def test_a_clip_whose_size_changes(server: Running, root: Path) -> None:
    """Found when a frame is met that is larger; what was found before stays."""
    folder = root / "frames"
    folder.mkdir()
    for k in range(8):
        picture = PilImage.fromarray(frame_of(k))
        (picture if k < 6 else picture.resize((50, 30))).save(folder / f"{k:03d}.png")
    client = server.client
    (entry,) = [e for e in client.get("/api/images").json["entries"] if e["name"] == "frames"]
    assert entry["frames"] is True
    refused = client.post("/api/videos", path="frames")
    assert refused.status == 400, "met at once: the values of some frames are looked at"
    assert "frames of one size" in refused.json["detail"]
    at = opened(client, "frames", frames="0:5")
    prompted(client, at, frame=0, object="bar", box=BAR)
    PilImage.fromarray(frame_of(0)).resize((50, 30)).save(folder / "004.png")
    videos = videos_of(server.desk)
    for work in videos.works:
        work.clip.frames.video._cache.clear()
        work.clip.embedded._cache.clear()
    events: list[Any] = []
    videos.works[0].listen(events.append)
    state = tracked(client, at)
    assert state["steps"][-1].startswith("tracking bar ended after")
    (error,) = [event for event in events if event["type"] == "error"]
    assert "frame 4 of 50 x 30" in error["detail"]
    assert str(root.parent) not in error["detail"]
    assert [k for k, m in masks(client, at, "bar", 6).items() if m.any()] == [0, 1, 2, 3]


def test_a_disk_that_is_full(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that cannot be saved is there, said, and saved with the next one."""
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = os.write
    monkeypatch.setattr(os, "write", full)
    state = prompted(client, at, frame=2, object="bar", box=BAR)
    monkeypatch.setattr(os, "write", real)
    assert state["warning"].startswith("this step is not on disk: ")
    assert "\n" not in state["warning"]
    assert len(state["steps"]) == 3
    state = tracked(client, at)
    assert state["warning"] == ""
    monkeypatch.setattr(
        "promptseg.serve.video.results.shutil.disk_usage",
        lambda _: type("Usage", (), {"free": 1 << 20}),
    )
    refused = client.post(f"{at}/results", what=["overlay"])
    assert refused.status == 400
    assert "MiB of free disk" in refused.json["detail"]
    client.ask("DELETE", at)
    monkeypatch.undo()
    assert client.get(opened(client)).json["steps"] == state["steps"]


def test_a_journal_that_is_damaged_is_kept_aside(server: Running, root: Path) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    tracked(client, at)
    client.ask("DELETE", at)
    (path,) = root.glob(".promptseg/*/video-*/masks-*.npz")
    path.write_bytes(b"no archive")
    state = client.get(opened(client)).json
    assert state["steps"] == ["video opened"]
    assert state["warning"].startswith("the earlier session is not used: ")
    assert str(root) not in state["warning"]
    assert list(root.glob(".promptseg/*/aside-*/journal.jsonl"))


@pytest.mark.parametrize("ending", ["journal.jsonl", ".npz"])
def test_a_session_that_cannot_be_read_now_is_there_later(
    server: Running,
    monkeypatch: pytest.MonkeyPatch,
    unreadable: Callable[[str], None],
    ending: str,
) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    tracked(client, at)
    client.ask("DELETE", at)
    load = np.load

    def failing(path: Any, **how: Any) -> Any:
        if str(path).endswith(ending):
            raise OSError(errno.EIO, "Input/output error")
        return load(path, **how)

    unreadable(ending)
    monkeypatch.setattr(np, "load", failing)
    refused = client.post("/api/videos", path="clip.mkv", frames=f"0:{COUNT - 1}")
    assert (refused.status, "try again" in refused.json["detail"]) == (400, True)
    monkeypatch.undo()
    assert [o["name"] for o in client.get(opened(client)).json["objects"]] == ["bar"]


def test_two_servers_on_one_folder_do_not_write_over_each_other(root: Path) -> None:
    one, two = (Videos(desk_on(root)) for _ in range(2))
    first = one.open("clip.mkv")
    first.new_object("bar")
    with pytest.raises(TakenError, match="another server"):
        two.open("clip.mkv")
    second = two.open("clip.mkv", take_over=True)
    assert second.step.names == ["bar"]
    with pytest.raises(EndedError, match="another server"):
        first.new_object("late")
    one.close(first.id)
    two.close(second.id)
    third = one.open("clip.mkv")
    assert (third.step.names, third.warning) == (["bar"], "")
    fourth = two.open("clip.mkv", take_over=True)
    third.right = None  # as where no locks can be had
    third.new_object("mine")
    fourth.new_object("yours")
    assert "another program has changed this session" in fourth.warning
    one.close(third.id)
    two.close(fourth.id)
    assert one.open("clip.mkv").step.names == ["bar", "yours"]
    (aside,) = root.glob(".promptseg/*/aside-*/journal.jsonl")
    assert "mine" in aside.read_text()
    for videos in (one, two):
        videos.desk.stop()


def test_a_beginning_afresh_that_is_refused_leaves_the_earlier_session(
    server: Running, root: Path
) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    client.ask("DELETE", at)
    refused = client.post("/api/videos", path="clip.mkv", afresh=True, window="lungs")
    assert refused.status == 400
    at = opened(client)
    assert [o["name"] for o in client.get(at).json["objects"]] == ["bar"]
    client.ask("DELETE", at)
    at = opened(client, afresh=True)
    assert client.get(at).json["objects"] == []
    prompted(client, at, frame=0, object="other", box=BAR)
    client.ask("DELETE", at)
    assert [o["name"] for o in client.get(opened(client)).json["objects"]] == ["other"]
    assert len(list(root.glob(".promptseg/*/aside-*/journal.jsonl"))) == 1


def test_another_clip_of_the_name_begins_afresh(server: Running, root: Path) -> None:
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    client.ask("DELETE", at)
    write_video(root / "clip.mkv", [np.roll(frame_of(k), 1, 1) for k in range(COUNT)])
    state = client.get(opened(client)).json
    assert state["objects"] == []
    assert "another one of its name" in state["warning"]


def test_options_go_on_as_they_began(server: Running) -> None:
    client = server.client
    at = opened(client, modality="endoscopy")
    prompted(client, at, frame=0, object="bar", box=BAR)
    client.ask("DELETE", at)
    at = opened(client, modality="US")
    state = client.get(at).json
    assert state["clip"]["modality"] == "endoscopy"
    assert "modality US is not used" in state["warning"]
    client.ask("DELETE", at)
    at = opened(client, modality="US", afresh=True)
    assert client.get(at).json["clip"]["modality"] == "US"
    assert client.post("/api/videos", path="clip.mkv", propagate="x", take_over=True).status == 400


def test_events_tell_how_far_it_is(server: Running) -> None:
    sockets = pytest.importorskip("websockets.sync.client")
    client = server.client
    at = opened(client)
    prompted(client, at, frame=0, object="bar", box=BAR)
    url = f"ws://127.0.0.1:{client.port}{at}/events"
    with sockets.connect(url, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        client.post(f"{at}/track")
        told = []
        while not told or told[-1]["type"] != "tracked":
            told.append(json.loads(socket.recv(60)))
    progress = [event for event in told if event["type"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["of"] == COUNT
    assert told[-1]["action"] == "tracked bar"


class TestFiles:
    """Files that are sent into the folder."""

    def send(self, client: Client, path: str, content: bytes, **headers: str) -> Any:
        return client.ask("POST", f"/api/files?path={path}", content, headers)

    def test_a_video_is_sent_and_opened(self, server: Running, root: Path) -> None:
        content = (root / "clip.mkv").read_bytes()
        done = self.send(server.client, "new/sent.mkv", content)
        assert done.json == {"path": "new/sent.mkv", "bytes": len(content)}
        assert (root / "new/sent.mkv").read_bytes() == content
        assert self.send(server.client, "new/sent.mkv", content).status == 409
        opened(server.client, "new/sent.mkv")
        assert [p.name for p in (root / "new").iterdir()] == ["sent.mkv"]

    @pytest.mark.parametrize(
        "path",
        ["../x.mp4", "/tmp/x.mp4", ".promptseg/x.mp4", "x.exe", "x.html", "", "up/x.mp4", ".x.mp4"],
    )
    def test_nowhere_else_and_nothing_else(self, server: Running, root: Path, path: str) -> None:
        (root / "up").symlink_to(root.parent)
        before = {p for p in root.parent.rglob("*") if ".promptseg" not in p.parts}
        assert self.send(server.client, path, b"x").status == 400
        assert {p for p in root.parent.rglob("*") if ".promptseg" not in p.parts} == before

    def test_too_large_is_refused_before_it_is_there(self, root: Path) -> None:
        desk = desk_on(root, upload_mib=1)
        with running(desk) as found:
            port = found.client.port
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.putrequest("POST", "/api/files?path=big.mp4")
            for name, value in (
                ("Authorization", f"Bearer {TOKEN}"),
                ("Content-Length", str(1 << 40)),
                ("Expect", "100-continue"),
            ):
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            assert answer.status == 413
            assert b"at most 1 MiB" in answer.read()

            def chunks() -> Iterator[bytes]:  # of which nobody says how many come
                for _ in range(5):
                    yield bytes(1 << 19)

            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            connection.request(
                "POST", "/api/files?path=big.mp4", chunks(), headers, encode_chunked=True
            )
            assert connection.getresponse().status == 413
        desk.stop()
        assert {p.name for p in root.iterdir()} - {".promptseg"} == {"clip.mkv"}

    def test_a_client_that_goes_away_leaves_nothing(self, server: Running, root: Path) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.client.port, timeout=60)
        connection.putrequest("POST", "/api/files?path=half.mp4")
        connection.putheader("Authorization", f"Bearer {TOKEN}")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        connection.send(bytes(5000))
        connection.close()
        end = time.monotonic() + 30
        while {p.name for p in root.iterdir()} - {".promptseg"} != {"clip.mkv"}:
            assert time.monotonic() < end
            time.sleep(0.1)

    def test_a_full_disk(
        self, server: Running, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: Any, content: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(uploads.Incoming, "add", full)
        refused = self.send(server.client, "full.mp4", b"x" * 5000)
        assert refused.status == 400
        assert "no space left on the disk" in refused.json["detail"]
        assert {p.name for p in root.iterdir()} - {".promptseg"} == {"clip.mkv"}
        usage = type("Usage", (), {"free": 1 << 20})
        monkeypatch.setattr("promptseg.serve.uploads.shutil.disk_usage", lambda _: usage)
        assert self.send(server.client, "full.mp4", b"x" * 5000).status == 413


GUARDED = (
    ("GET", "/api/videos?path=clip.mkv"),
    ("POST", "/api/videos"),
    ("POST", "/api/files?path=x.mp4"),
    *(
        ("GET", f"/api/videos/{{s}}{path}")
        for path in ("", "/frame?frame=0", "/masks?frame=0", "/timeline", "/results/areas.csv")
    ),
    *(
        ("POST", f"/api/videos/{{s}}/{path}")
        for path in ("prompts", "objects", "reset", "track", "cancel", "undo", "redo", "results")
    ),
    ("PUT", "/api/videos/{s}/objects"),
    ("DELETE", "/api/videos/{s}"),
)


def test_nothing_of_it_without_the_token_or_from_elsewhere(server: Running) -> None:
    port = server.client.port
    session = opened(server.client).rpartition("/")[2]
    entered = Client(port, {}).get(f"/?token={TOKEN}")
    cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
    for method, template in GUARDED:
        path = template.format(s=session)
        for headers in ({}, {"Authorization": "Bearer x"}):
            assert Client(port, headers).ask(method, path, {}).status == 401, path
        evil = {"Origin": "http://evil.example"}
        assert server.client.ask(method, path, {}, evil).status == 403, path
        assert server.client.ask(method, path, {}, {"Host": "evil.example"}).status == 403, path
        if method != "GET":
            assert Client(port, cookie).ask(method, path, {}).status == 403, "no Origin"
    assert server.client.get(f"/api/videos/{session}").status == 200
    sockets = pytest.importorskip("websockets.sync.client")
    url = f"ws://127.0.0.1:{port}/api/videos/{session}/events"
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}", **evil}):
        with pytest.raises(Exception, match="403"):
            sockets.connect(url, additional_headers=headers)


def test_every_route_is_among_the_guarded_ones(server: Running) -> None:
    found = server.client.get("/api/openapi.json").json["paths"]
    routes = {
        (method.upper(), path)
        for path, methods in found.items()
        for method in methods
        if path.startswith(("/api/videos", "/api/files"))
    }
    tested = {
        (method, path.partition("?")[0].replace("{s}", "{session}").replace("areas.csv", "{name}"))
        for method, path in GUARDED
    }
    assert routes == tested


OUTSIDE = [
    "../secret.mkv",
    "link.mkv",
    "up/secret.mkv",
    "/etc/passwd",
    "..",
    ".promptseg",
    "\0",
    "",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_videos_outside_the_folder(server: Running, root: Path, name: str) -> None:
    secret = root.parent / "secret.mkv"
    secret.write_bytes((root / "clip.mkv").read_bytes())
    (root / "link.mkv").symlink_to(secret)
    (root / "up").symlink_to(root.parent)
    assert server.client.post("/api/videos", path=name).status in (400, 404)
    assert not server.desk.all_works


def test_wrong_bodies_are_no_fault_of_ours(server: Running) -> None:
    client = server.client
    at = opened(client)
    for path, body in (
        ("prompts", {"frame": 0}),
        ("prompts", {"frame": 0, "box": BAR, "points": [[1, 1, 1]]}),
        ("prompts", {"frame": 0, "box": [0, 0, 1e9, 5]}),
        ("prompts", {"frame": 0, "box": [1, 2]}),
        ("prompts", {"frame": 0, "points": [[1, 1, 5]]}),
        ("prompts", {"frame": 0, "points": [[5, 20, 0]]}),
        ("prompts", {"frame": "0", "box": BAR}),
        ("prompts", {"box": BAR}),
        ("prompts", {"frame": 0, "box": BAR, "object": "x" * 5000}),
        ("prompts", {"frame": 0, "box": BAR, "object": "\ud800"}),
        ("track", {}),
        ("track", {"direction": "up"}),
        ("results", {"what": ["all"]}),
        ("objects", {"name": " "}),
        ("reset", {"object": "none"}),
        ("undo", {"to": -1}),
    ):
        refused = client.post(f"{at}/{path}", **body)
        assert refused.status == 400, (path, body, refused.body)
        assert "\n" not in refused.json["detail"]
    assert client.get(at).json["steps"] == ["video opened"]


FIELDS = (
    *("path", "frames", "frame", "object", "box", "points", "stroke", "absent", "name", "select"),
    *("remove", "direction", "to", "what", "folder", "overwrite"),
)


def test_requests_of_any_kind_are_no_fault_of_ours(server: Running, root: Path) -> None:
    rng = random.Random(24)
    client = server.client
    at = opened(client)
    outside = {p for p in root.parent.rglob("*") if root not in p.parents}
    routes = [(method, path) for method, path in GUARDED if method != "DELETE"]
    for number in range(250):
        method, template = rng.choice(routes)
        path = template.partition("?")[0].format(s=at.rpartition("/")[2])
        body = {name: anything(rng) for name in rng.sample(FIELDS, rng.randrange(5))}
        data = json.dumps(body).encode() if rng.random() < 0.9 else rng.randbytes(40)
        query = rng.choice(["", "?frame=3", "?frame=x&width=0", "?path=a.png", "?path=../x.png"])
        answer = client.ask(method, path + query, data)
        assert answer.status < 500 or answer.status == 503, (number, path, body, answer.body)
        if client.get(at).status == 410:
            at = opened(client, take_over=True)
    rested(client, at)
    assert {p for p in root.parent.rglob("*") if root not in p.parents} == outside
