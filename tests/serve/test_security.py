"""Who is let in, and to what."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import string
from pathlib import Path
from typing import Any

import pytest

from promptseg.errors import InputError, OutputError
from promptseg.serve.folder import Folder
from promptseg.serve.options import ServeJob
from promptseg.serve.refusals import AbsentError
from promptseg.serve.web.guard import COOKIE, Slowness
from serve.conftest import BOX_A, TOKEN, Client, Running

READS = ["/api/info", "/api/images", "/api/openapi.json", "/capabilities", "/lease_status", "/"]


@pytest.mark.parametrize("path", READS)
def test_nothing_without_the_token(server: Running, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}):
        assert Client(server.client.port, headers).get(path).status == 401
    for path in ("/api/sessions", "/claim", "/set_image"):
        assert Client(server.client.port, {}).post(path).status == 401


def test_wrong_tokens_are_slowed_and_right_ones_are_not(server: Running) -> None:
    wrong = Client(server.client.port, {"Authorization": "Bearer x"})
    for _ in range(4):
        wrong.get("/api/info")
    wrong.get("/?token=x")
    assert server.slept == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert server.client.get("/api/info").status == 200
    assert len(server.slept) == 5


def test_slowness_has_an_end_and_is_forgotten() -> None:
    now = [0.0]
    slowness = Slowness(lambda: now[0])
    assert [slowness.next_delay() for _ in range(40)][-1] == 5
    now[0] = 61
    assert slowness.next_delay() == 0.1


def test_the_token_becomes_a_cookie_that_pages_elsewhere_cannot_use(server: Running) -> None:
    port = server.client.port
    entered = Client(port, {}).get(f"/?token={TOKEN}")
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    held = {"Cookie": cookie.partition(";")[0]}
    assert held["Cookie"].startswith(f"{COOKIE}=")
    page = Client(port, held)
    assert page.get("/api/info").status == 200
    own = {"Origin": f"http://127.0.0.1:{port}"}
    body = {"path": "scan.nii.gz"}
    assert page.ask("POST", "/api/sessions", body).status == 403, "no Origin"
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}"):
        assert page.ask("POST", "/api/sessions", body, {"Origin": origin}).status == 403
        assert page.ask("GET", "/api/info", None, {"Origin": origin}).status == 403
    assert page.ask("POST", "/api/sessions", body, own).status == 200
    assert Client(port, {"Cookie": f"{COOKIE}=x"}).get("/api/info").status == 401


def test_other_names_of_this_machine_are_refused(server: Running) -> None:
    for host in (
        "evil.example",
        f"evil.example:{server.client.port}",
        "127.0.0.1.evil.example",
        "",
    ):
        answer = server.client.ask("GET", "/api/info", None, {"Host": host})
        assert answer.status in (400, 403), host
    for host in ("localhost", "LOCALHOST:1", "[::1]:1527", "127.0.0.1"):
        assert server.client.ask("GET", "/api/info", None, {"Host": host}).status == 200


def test_sockets_are_guarded_too(server: Running) -> None:
    client = pytest.importorskip("websockets.sync.client")
    at = server.client.open()
    url = f"ws://127.0.0.1:{server.client.port}{at}/events"
    right = {"Authorization": f"Bearer {TOKEN}"}
    for headers in ({}, {"Authorization": "Bearer x"}, {**right, "Origin": "http://evil.example"}):
        with pytest.raises(Exception, match="403"):
            client.connect(url, additional_headers=headers)
    with client.connect(url, additional_headers=right):
        pass


def test_every_answer_forbids_scripts_from_elsewhere_and_guessing(server: Running) -> None:
    for client in (server.client, Client(server.client.port, {})):
        headers = client.get("/api/info").headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


def test_the_page_shows_no_other_file(server: Running) -> None:
    for path in ("/../run.py", "/..%2frun.py", "/%2e%2e/run.py", "//etc/passwd", "/index.html%00"):
        assert server.client.get(path).status == 404, path
    assert server.client.get(f"/{'a' * 300}.js").status == 404, "no file is called so"


@pytest.fixture
def outside(root: Path) -> Path:
    """A file beside the folder, and ways that look like they lead there."""
    path = root.parent / "secret.nii.gz"
    path.write_bytes((root / "scan.nii.gz").read_bytes())
    (root / "link.nii.gz").symlink_to(path)
    (root / "up").symlink_to(root.parent)
    (root / "series").mkdir()
    (root / "series" / "a.dcm").symlink_to(path)
    (root / "far.mhd").write_text(
        "ObjectType = Image\nNDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\n"
        "ElementDataFile = ../secret.nii.gz\n"
    )
    return path


OUTSIDE = [
    *("../secret.nii.gz", "link.nii.gz", "up/secret.nii.gz", "series", "up", "far.mhd"),
    *("/etc/passwd", "..", "a/../../secret.nii.gz", "~/x", "C:\\x", "..\\secret.nii.gz", "\0", "."),
    *("%2e%2e/secret.nii.gz", ".promptseg", ".promptseg/x/session.npz", "scan.nii.gz/../../x"),
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_outside_the_folder(server: Running, outside: Path, name: str) -> None:
    answer = server.client.post("/api/sessions", path=name)
    assert answer.status in (400, 404)
    assert str(outside.parent) not in answer.json["detail"].replace(name, "")
    if name != "far.mhd":  # which is a file of the folder, and cannot be read
        assert server.client.put("/api/images", path=name, state="done").status in (400, 404)
    assert not server.desk.works


def test_outside_is_neither_listed_nor_written(server: Running, outside: Path, root: Path) -> None:
    names = {e["name"] for e in server.client.get("/api/images").json["entries"]}
    assert names == {"scan.nii.gz", "series", "far.mhd"}
    assert server.client.get("/api/images?folder=up").status == 404
    at = server.client.open()
    server.client.post(f"{at}/prompts", box=BOX_A, slice=10)
    server.client.get(f"{at}/changes?wait=20")
    before = outside.read_bytes()
    for path in ("../secret.nii.gz", "link.nii.gz", "up/secret.nii.gz", "up/new.nii.gz"):
        assert server.client.post(f"{at}/save", path=path, overwrite=True).status == 400
    assert outside.read_bytes() == before
    assert {p.name for p in root.parent.iterdir()} == {"cases", "secret.nii.gz"}


def test_a_folder_is_resolved_once(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "name").symlink_to(real)
    folder = Folder(tmp_path / "name")
    assert folder.inside("a") == real / "a"
    with pytest.raises(AbsentError):
        folder.image("a")
    with pytest.raises(OutputError):
        folder.output("")
    with pytest.raises(InputError):
        Folder(tmp_path / "none")


def test_the_log_names_nobody(
    server: Running, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.rename(root / "scan.nii.gz", root / "Mueller_Anna.nii.gz")
    with caplog.at_level(logging.DEBUG, logger="promptseg.serve"):
        at = server.client.open("Mueller_Anna.nii.gz")
        server.client.post(f"{at}/prompts", box=BOX_A, slice=10, object="Anna's liver")
        server.client.get("/api/images?folder=Mueller_Anna.nii.gz")
        server.client.post("/api/sessions", path="Mueller_Anna.nii.gz")
        server.client.get(f"{at}/changes?wait=20")
    said = [r.getMessage() for r in caplog.records if r.name == "promptseg.serve"]
    assert any(text.startswith("POST /api/sessions/{session}/prompts 200") for text in said)
    assert "Anna" not in " ".join(said)


def test_other_addresses_need_a_token_that_was_chosen() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org"):
        with pytest.raises(InputError, match="--token beside a --host that others can reach"):
            ServeJob(host=host)
        ServeJob(host=host, token="a" * 16)
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert ServeJob(host=host).is_loopback
    for wrong in ({"token": "short"}, {"port": 70000}, {"sessions": 0}, {"modality": "X"}):
        with pytest.raises(InputError):
            ServeJob(**wrong)  # type: ignore[arg-type]


ROUTES = (
    *(
        "/api/sessions",
        "/api/uploads",
        "/api/images",
        "/api/sessions/{s}",
        "/api/sessions/{s}/save",
    ),
    *(
        f"/api/sessions/{{s}}/{n}"
        for n in ("prompts", "preview", "objects", "undo", "redo", "cancel")
    ),
    *(f"/api/sessions/{{s}}/{n}" for n in ("slices", "changes", "measurements", "download", "x")),
    *(
        "/claim",
        "/set_image",
        "/predict",
        "/undo",
        "/add_point_interaction",
        "/add_bbox_interaction",
    ),
    *("/add_lasso_interaction", "/add_initial_seg_interaction", "/set_target_buffer", "/nothing"),
)
FIELDS = (
    *("path", "object", "axis", "slice", "box", "box3d", "points", "mask", "marker", "since", "to"),
    *("name", "colour", "select", "remove", "overwrite", "coordinates", "bbox_coords", "shape"),
)


def anything(rng: random.Random, depth: int = 0) -> Any:
    made = [
        lambda: rng.choice([None, True, False, 0, 1, -1, 10, 1 << 60, 1e308, 0.5]),
        lambda: rng.choice(["", "z", "scan.nii.gz", "../x", "a" * 300, "\u202e", "\0", "0:5"]),
        lambda: [rng.choice([0, 5, 11, 25, 1e9, None, "x"]) for _ in range(rng.randrange(7))],
        lambda: "".join(rng.choices(string.printable, k=rng.randrange(20))),
        lambda: {"size": [40, 48], "rle": rng.choice(["0:5", "5:-1", "x", "0:99999"])},
        lambda: {"long": [[1, 1], [9, 9]], "short": anything(rng, depth + 1)},
    ]
    if depth < 3:
        made.append(lambda: [anything(rng, depth + 1) for _ in range(rng.randrange(4))])
        made.append(lambda: {rng.choice(FIELDS): anything(rng, depth + 1) for _ in range(3)})
    return rng.choice(made)()


def test_requests_of_any_kind_are_no_fault_of_ours(server: Running, root: Path) -> None:
    rng = random.Random(20)
    client = server.client
    at = client.open()
    lease = client.post("/claim").json["lease_token"]
    outside = {p for p in root.parent.rglob("*") if root not in p.parents}
    for number in range(300):
        path = rng.choice(ROUTES).replace("{s}", at.rpartition("/")[2])
        fields = rng.sample(FIELDS, rng.randrange(4))
        body = {name: anything(rng) for name in fields} if rng.random() < 0.9 else anything(rng)
        data = json.dumps(body).encode() if rng.random() < 0.95 else rng.randbytes(50)
        query = rng.choice(
            ["", f"?index={rng.randrange(-5, 30)}&axis=y", "?since=x", "?ending=.png"]
        )
        headers = {
            "X-Lease-Token": lease,
            "X-Meta": rng.choice(["{}", "[", "[[]]", '{"spacing":1}']),
        }
        method = rng.choice(["GET", "POST", "POST", "POST", "PUT"])
        answer = client.ask(method, path + query, data, headers)
        assert answer.status < 500 or answer.status == 503, (
            number,
            method,
            path,
            body,
            answer.body,
        )
        if client.get(at).status == 410:
            at = client.open()
    assert {p for p in root.parent.rglob("*") if root not in p.parents} == outside
    assert client.get("/api/health").json["ok"]


def test_raw_bytes_are_no_fault_of_ours(server: Running) -> None:
    rng = random.Random(21)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.client.port), timeout=10) as raw:
            raw.sendall(rng.randbytes(rng.randrange(1, 200)))
    assert server.client.get("/api/health").status == 200
