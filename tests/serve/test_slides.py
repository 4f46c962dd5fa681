"""Slides on the server: tiles, prompts, outlines, GeoJSON; who may, and what is refused."""

from __future__ import annotations

import io
import json
import logging
import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.serve import slide_tiles
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from promptseg.serve.refusals import EndedError, TakenError
from promptseg.serve.slide_desk import SlideDesk
from promptseg.serve.slide_work import SlideWork
from promptseg.serve.web.guard import COOKIE
from serve.conftest import TOKEN, Answered, Client, Running, running
from serve.fake_server import OPTIONS, bright
from serve.test_kill import running as running_alone
from serve.test_security import anything
from slides.makers import SIZE, covered, shapes, write_slide

pytest.importorskip("tiffslide", reason="the extra pathology is not installed")

SHAPES = shapes()
VIEW = {"view": [300, 200, 900, 600], "zoom": 0}
BLOCK = [390, 290, 650, 410]


@pytest.fixture
def slide(root: Path) -> Path:
    return write_slide(root / "shapes.tif")


def opened(client: Client, path: str = "shapes.tif", **how: object) -> str:
    answer = client.post("/api/slides", path=path, **how)
    assert answer.status == 200, answer.body
    return f"/api/slides/{answer.json['session']}"


def mask_of(client: Client, at: str, name: str) -> np.ndarray:
    objects = client.get(at).json["objects"]
    number = next(o["outline"] for o in objects if o["name"] == name)
    answer = client.get(f"{at}/outline?version={number}")
    assert answer.status == 200, answer.body
    return covered(answer.json["polygons"], SIZE[::-1])


def test_the_list_says_what_is_a_slide(server: Running, slide: Path) -> None:
    kinds = {e["name"]: e["kind"] for e in server.client.get("/api/images").json["entries"]}
    assert kinds == {"scan.nii.gz": "image", "shapes.tif": "slide"}


def test_a_session_that_cannot_be_read_now_is_there_later(
    server: Running,
    slide: Path,
    monkeypatch: pytest.MonkeyPatch,
    unreadable: Callable[[str], None],
) -> None:
    at = opened(server.client)
    server.client.post(f"{at}/prompts", box=BLOCK, object="gland", **VIEW)
    server.client.ask("DELETE", at)
    unreadable(".jsonl")
    refused = server.client.post("/api/slides", path="shapes.tif")
    assert (refused.status, "try again" in refused.json["detail"]) == (400, True)
    monkeypatch.undo()
    state = server.client.get(opened(server.client)).json
    assert [o["name"] for o in state["objects"]] == ["gland"]


def test_two_servers_on_one_folder_do_not_write_over_each_other(root: Path, slide: Path) -> None:
    one, two = (
        SlideDesk(Desk({"bright": bright()}, Folder(root), options=OPTIONS, encode=False))
        for _ in range(2)
    )
    first = one.open("shapes.tif")
    first.change(lambda: first.session.new_object("gland"))
    with pytest.raises(TakenError, match="another server"):
        two.open("shapes.tif")
    second = two.open("shapes.tif", take_over=True)
    second.change(lambda: second.session.new_object("vessel"))
    with pytest.raises(EndedError, match="another server"):
        first.change(lambda: first.session.new_object("late"))
    first.right = None  # as where no locks can be had
    first.change(lambda: first.session.new_object("late"))
    assert "another program has changed this session" in first.warning
    kept = [path.read_text() for path in root.glob(".promptseg/*/session-*.jsonl")]
    assert sorted("vessel" in text for text in kept) == [False, True]
    for slides in (one, two):
        slides.desk.stop()


def test_tiles_show_the_slide(server: Running, slide: Path) -> None:
    at = opened(server.client)
    state = server.client.get(at).json
    assert state["slide"] == {
        "width": 3000,
        "height": 2000,
        "microns": pytest.approx([0.25, 0.25]),
        "zooms": 4,
        "tile": 512,
    }
    for zoom in range(4):
        step = 1 << zoom
        whole = np.zeros((-(-2000 // step), -(-3000 // step)), np.float32)
        for row in range(-(-whole.shape[0] // 512)):
            for column in range(-(-whole.shape[1] // 512)):
                answer = server.client.get(f"{at}/tile?zoom={zoom}&column={column}&row={row}")
                assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
                assert answer.headers["cache-control"] == "no-store"
                tile = np.asarray(Image.open(io.BytesIO(answer.body)).convert("L"), np.float32)
                place = whole[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
                assert tile.shape == place.shape
                place[:] = tile
        shown = SHAPES[step // 2 :: step, step // 2 :: step]
        rows, columns = (min(a, b) for a, b in zip(shown.shape, whole.shape, strict=True))
        same = (whole[:rows, :columns] > 125) == shown[:rows, :columns]
        assert same.mean() > 0.995
    for wrong in ("zoom=4", "zoom=-1", "column=6", "row=4", "column=-1", f"column={10**12}"):
        assert server.client.get(f"{at}/tile?{wrong}").status == 404, wrong
    assert server.client.get(f"{at}/tile?zoom=x").status == 400


def test_tiles_that_are_kept_have_a_bound(
    server: Running, slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_tiles, "_KEPT_BYTES", 40_000)
    at = opened(server.client)
    (work,) = [work for work in server.desk.all_works if isinstance(work, SlideWork)]
    for number in range(24):
        server.client.get(f"{at}/tile?zoom=0&column={number % 6}&row={number // 6}")
        assert work.tiles.nbytes <= 40_000
    assert work.tiles.nbytes > 10_000


def test_a_prompt_is_answered_and_undone(server: Running, slide: Path) -> None:
    client = server.client
    at = opened(client)
    state = client.post(f"{at}/prompts", box=BLOCK, **VIEW).json
    expected = np.zeros_like(SHAPES)
    expected[304:400, 400:640] = True
    assert state["steps"] == ["start", "box on object 1"]
    (known,) = state["objects"]
    assert (known["area_px"], known["regions"]) == (96 * 240, 1)
    assert known["area_mm2"] == pytest.approx(96 * 240 * 0.25**2 / 1e6)
    assert known["prompts"] == [{"box": pytest.approx(BLOCK)}]
    np.testing.assert_array_equal(mask_of(client, at, "object 1"), expected)
    state = client.post(f"{at}/prompts", points=[[600, 350, 0]], **VIEW).json
    assert state["objects"][0]["empty"]
    state = client.post(f"{at}/undo").json
    assert state["objects"][0]["outline"] == known["outline"]
    np.testing.assert_array_equal(mask_of(client, at, "object 1"), expected)
    assert client.post(f"{at}/redo").json["position"] == 2
    assert client.post(f"{at}/undo", to=0).json["objects"] == []
    assert client.post(f"{at}/undo", to=9).status == 400
    assert client.get(f"{at}/outline?version=99").status == 404


def test_objects(server: Running, slide: Path) -> None:
    client = server.client
    at = opened(client)
    client.post(f"{at}/objects", name="tumour", colour=[9, 8, 7])
    state = client.post(f"{at}/prompts", box=BLOCK, **VIEW).json
    assert [(o["name"], o["colour"]) for o in state["objects"]] == [("tumour", [9, 8, 7])]
    client.put(f"{at}/objects", object="tumour", name="lymph")
    state = client.put(f"{at}/objects", object="lymph", colour=[1, 2, 3]).json
    assert [(o["name"], o["colour"]) for o in state["objects"]] == [("lymph", [1, 2, 3])]
    client.post(f"{at}/objects")
    state = client.put(f"{at}/objects", object="lymph", select=True).json
    assert (state["current"], len(state["objects"])) == ("lymph", 2)
    assert client.put(f"{at}/objects", object="lymph", remove=True).json["current"] == "object 1"
    for wrong in (
        {"object": "no"},
        {"object": "object 1", "colour": [1]},
        {"object": "object 1", "x": 1},
    ):
        assert client.put(f"{at}/objects", **wrong).status == 400
    assert client.get("/api/images").json["entries"][1]["state"] == "begun"


def test_geojson_is_saved_and_sent(server: Running, slide: Path, root: Path) -> None:
    client = server.client
    at = opened(client)
    assert client.post(f"{at}/save", path="a.geojson").status == 400, "nothing there"
    client.post(f"{at}/prompts", box=BLOCK, object="block", **VIEW)
    done = client.post(f"{at}/save", path="out/a.geojson")
    assert done.json == {"path": "out/a.geojson", "bytes": (root / "out/a.geojson").stat().st_size}
    saved = json.loads((root / "out/a.geojson").read_text())
    sent = client.get(f"{at}/download")
    assert "attachment" in sent.headers["content-disposition"]
    for content in (saved, sent.json):
        (feature,) = content["features"]
        ring = [[400, 304], [640, 304], [640, 400], [400, 400], [400, 304]]
        assert feature["geometry"] == {"type": "Polygon", "coordinates": [ring]}
    assert client.post(f"{at}/save", path="out/a.geojson").status == 409
    assert client.post(f"{at}/save", path="out/a.geojson", overwrite=True).status == 200
    for wrong in (
        "../a.geojson",
        "/a.geojson",
        ".promptseg/a.geojson",
        "shapes.tif",
        "a.png",
        "out",
    ):
        before = slide.read_bytes()
        assert client.post(f"{at}/save", path=wrong, overwrite=True).status == 400, wrong
        assert slide.read_bytes() == before
    assert not (root.parent / "a.geojson").exists()


def test_bad_prompts_are_one_clear_line(server: Running, slide: Path) -> None:
    at = opened(server.client)
    for body, said in (
        ({**VIEW}, "one of box, points"),
        ({**VIEW, "box": BLOCK, "points": [[1, 1, 1]]}, "one of box, points"),
        ({**VIEW, "box": [1, 2, 3]}, "a box [x0, y0, x1, y1]"),
        ({**VIEW, "box": [-5, 0, 10, 10]}, "coordinates on the slide"),
        ({**VIEW, "points": [[5000, 1, 1]]}, "coordinates on the slide"),
        ({**VIEW, "points": [[1, 1, 2]]}, "label 0 or 1"),
        ({**VIEW, "points": []}, "points [x, y, label]"),
        ({"view": [0, 0, 0, 5], "zoom": 0, "box": BLOCK}, "a view"),
        ({"view": [0, 0, 5, 5], "zoom": 99, "box": BLOCK}, "a view"),
        ({"zoom": 0, "box": BLOCK}, "the field view"),
        ({**VIEW, "box": BLOCK, "object": "x" * 5000}, "name"),
    ):
        answer = server.client.ask("POST", f"{at}/prompts", body)
        assert answer.status == 400, body
        assert said in answer.json["detail"]
        assert "\n" not in answer.json["detail"]
    assert server.client.get(at).json["position"] == 0


def test_a_model_of_boxes_takes_no_clicks(root: Path, slide: Path) -> None:
    desk = Desk({"boxes": bright("lite-medsam")}, Folder(root), Limits(), OPTIONS)
    with running(desk) as server:
        at = opened(server.client)
        answer = server.client.post(f"{at}/prompts", points=[[500, 350, 1]], **VIEW)
        assert answer.status == 400
        assert server.client.post(f"{at}/prompts", box=BLOCK, **VIEW).status == 200
    desk.stop()


def test_what_is_no_slide_is_refused(server: Running, root: Path, slide: Path) -> None:
    (root / "broken.svs").write_bytes(slide.read_bytes()[:2000])
    (root / "empty.svs").write_bytes(b"")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(root / "small.tif")
    outside = root.parent / "secret.tif"
    outside.write_bytes(slide.read_bytes())
    (root / "link.tif").symlink_to(outside)
    for name, status in (
        *(("broken.svs", 400), ("empty.svs", 400), ("scan.nii.gz", 400), ("none.tif", 404)),
        *(("link.tif", 404), ("../secret.tif", 404), ("/etc/passwd", 404), (".promptseg", 404)),
    ):
        answer = server.client.post("/api/slides", path=name)
        assert answer.status == status, (name, answer.body)
        assert str(root.parent) not in answer.json["detail"]
        assert "\n" not in answer.json["detail"]
    assert server.client.post("/api/slides", path="shapes.tif", model="none").status == 400
    assert not server.desk.guests[0].works


def test_a_slide_without_smaller_levels_is_refused(server: Running, root: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    blank = np.zeros((512, 9000, 3), np.uint8)
    tifffile.imwrite(
        root / "flat.tif", blank, tile=(256, 256), compression="zlib", photometric="rgb"
    )
    answer = server.client.post("/api/slides", path="flat.tif")
    assert answer.status == 400
    assert "--pyramid" in answer.json["detail"]


def test_one_window_at_a_time_and_within_the_limits(root: Path, slide: Path) -> None:
    desk = Desk({"bright": bright()}, Folder(root), Limits(sessions=2), OPTIONS)
    with running(desk) as server:
        client = server.client
        at = opened(client)
        assert client.post("/api/slides", path="shapes.tif").status == 409
        other = opened(client, take_over=True)
        assert client.get(at).status == 410
        assert client.post(f"{at}/prompts", box=BLOCK, **VIEW).status == 410
        client.open()
        write_slide(root / "more.tif")
        assert client.post("/api/slides", path="more.tif").status == 503
        assert client.post("/api/sessions", path="scan.nii.gz", take_over=True).status == 200
        assert client.ask("DELETE", other).status == 200
        opened(client, "more.tif")
        assert client.get("/api/slides/nobody").status == 404
    desk.stop()


def test_idle_slides_are_closed(root: Path, slide: Path) -> None:
    now = [0.0]
    desk = Desk({"bright": bright()}, Folder(root), Limits(), OPTIONS, clock=lambda: now[0])
    with running(desk) as server:
        at = opened(server.client)
        now[0] = 100
        assert server.client.get(at).status == 200
        now[0] = 230
        assert server.client.get(at).status == 410
    desk.stop()


GUARDED = (
    *(("POST", "/api/slides"), ("GET", "{at}"), ("DELETE", "{at}"), ("GET", "{at}/tile")),
    *(("GET", "{at}/outline?version=1"), ("POST", "{at}/prompts"), ("POST", "{at}/objects")),
    *(("PUT", "{at}/objects"), ("POST", "{at}/undo"), ("POST", "{at}/redo")),
    *(("POST", "{at}/save"), ("GET", "{at}/download"), ("GET", "/slide/slide.html")),
)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_slides_are_guarded_as_everything_is(
    server: Running, slide: Path, method: str, path: str
) -> None:
    at = opened(server.client)
    port, path = server.client.port, path.replace("{at}", at)
    for headers in ({}, {"Authorization": "Bearer x"}, {"Cookie": f"{COOKIE}=x"}):
        assert Client(port, headers).ask(method, path, {}).status == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    for more in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert Client(port, {**right, **more}).ask(method, path, {}).status == 403
    if method != "GET":
        entered = Client(port, {}).get(f"/?token={TOKEN}").headers["set-cookie"]
        held = Client(port, {"Cookie": entered.partition(";")[0]})
        assert held.ask(method, path, {}).status == 403, "no Origin"
    assert server.client.get(at).status == 200


def test_the_log_names_no_slide(
    server: Running, slide: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slide.rename(root / "Mueller_Anna.tif")
    with caplog.at_level(logging.DEBUG):
        at = opened(server.client, "Mueller_Anna.tif")
        server.client.post(f"{at}/prompts", box=BLOCK, object="Anna's node", **VIEW)
        server.client.get(f"{at}/tile")
        server.client.post(f"{at}/save", path="Mueller_Anna.geojson")
    said = [r.getMessage() for r in caplog.records if r.name == "promptseg.serve"]
    assert any("/api/slides/{session}/prompts 200" in text for text in said)
    assert "Anna" not in " ".join(said)


def test_killed_and_gone_on_with(root: Path, slide: Path) -> None:
    with running_alone(root) as (client, process):
        at = opened(client)
        client.post(f"{at}/prompts", box=BLOCK, object="block", **VIEW)
        client.post(f"{at}/objects", name="other", colour=[9, 9, 9])
        answered: Answered = client.post(f"{at}/prompts", box=[1590, 790, 1810, 1010], **VIEW)
        assert answered.status == 200
        before = mask_of(client, at, "other")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running_alone(root) as (client, process):
        at = opened(client)
        state = client.get(at).json
        assert state["steps"] == ["start", "box on block", "new other", "box on other"]
        assert state["objects"][1]["colour"] == [9, 9, 9]
        np.testing.assert_array_equal(mask_of(client, at, "other"), before)
        ring = np.zeros_like(SHAPES)
        ring[800:1000, 1600:1800] = True
        np.testing.assert_array_equal(before, SHAPES & ring)
        client.post(f"{at}/prompts", points=[[1620, 900, 0]], **VIEW)
        assert not mask_of(client, at, "other").any()


def test_a_damaged_or_foreign_session_is_kept_and_said(root: Path, slide: Path) -> None:
    desk = Desk({"bright": bright()}, Folder(root), Limits(), OPTIONS)
    with running(desk) as server:
        client = server.client
        at = opened(client)
        client.post(f"{at}/prompts", box=BLOCK, **VIEW)
        client.ask("DELETE", at)
        (file,) = (root / ".promptseg").rglob("session*.jsonl")
        write_slide(slide, levels=2)
        state = client.post("/api/slides", path="shapes.tif").json
        assert "another file of that name" in state["warning"]
        assert state["steps"] == ["start"]
        assert len(list(file.parent.glob("session-*.jsonl"))) == 1
        client.ask("DELETE", f"/api/slides/{state['session']}")
        at = opened(client)
        client.post(f"{at}/prompts", box=BLOCK, **VIEW)
        client.ask("DELETE", at)
        assert opened(client, afresh=True)
        assert len(list(file.parent.glob("session-*.jsonl"))) == 2
    desk.stop()


ROUTES = ("", "/tile", "/outline", "/prompts", "/objects", "/undo", "/redo", "/save", "/download")
FIELDS = (
    *("path", "object", "view", "zoom", "box", "points", "name", "colour", "select", "to"),
    *("remove", "overwrite", "model", "series", "of", "since"),
)


def test_requests_of_any_kind_are_no_fault_of_ours(
    server: Running, slide: Path, root: Path
) -> None:
    rng, client = random.Random(24), server.client
    at = opened(client)
    before = slide.read_bytes()
    for number in range(250):
        body = {name: anything(rng) for name in rng.sample(FIELDS, rng.randrange(4))}
        if rng.random() < 0.5:
            body = {**VIEW, "box": BLOCK, **body}
        query = rng.choice(("", "?zoom=-1", "?zoom=99999999999999&row=1", "?version=x", "?row=1e9"))
        method = rng.choice(("GET", "POST", "POST", "PUT"))
        path = at + rng.choice(ROUTES) if rng.random() < 0.9 else "/api/slides"
        answer = client.ask(method, path + query, body)
        assert answer.status < 500 or answer.status == 503, (number, method, path, body)
        if client.get(at).status == 410:
            at = opened(client)
    assert slide.read_bytes() == before
    assert {p.name for p in root.parent.iterdir()} == {"cases"}
