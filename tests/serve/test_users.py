"""Users named by a proxy: who is believed, who sees what, what is written down, how long it is kept."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptseg.errors import InputError, OutputError
from promptseg.serve.audit import Audit
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from promptseg.serve.options import ServeJob
from promptseg.serve.retention import keep_for, remove_old
from promptseg.serve.users import DeniedError, UnknownUserError, Users
from serve.conftest import BOX_A, BOX_B, TOKEN, Client, Running, running
from serve.fake_server import OPTIONS, bright
from serve.test_own import patched, settled
from slides.makers import write_slide

HEADER = "X-Remote-User"
ROLES = ["ruth=reviewer", "root=admin"]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path / "log" / "audit.jsonl")


@pytest.fixture
def served(desk: Desk, audit: Audit) -> Iterator[Running]:
    with running(desk, users=Users(HEADER, ["127.0.0.1"], ROLES), audit=audit) as found:
        yield found


def as_user(served: Running, name: str) -> Client:
    headers = {"Authorization": f"Bearer {TOKEN}", HEADER: name}
    return Client(served.client.port, headers)


def lines(audit: Audit) -> list[dict[str, Any]]:
    if not audit.path.exists():
        return []
    return [json.loads(line) for line in audit.path.read_text().splitlines()]


def test_the_header_is_believed_from_the_proxy_alone() -> None:
    users = Users(HEADER, ["10.0.0.2", "10.1.0.0/16", "fd00::1"], ["anna=reviewer", "*=admin"])
    anna = [(b"host", b"x"), (b"x-remote-user", b"anna")]
    for address in ("10.0.0.2", "10.1.2.3", "::ffff:10.0.0.2", "fd00::1"):
        assert (users.named(anna, address).name, users.named(anna, address).role) == (
            "anna",
            "reviewer",
        )
    for address in ("10.0.0.3", "127.0.0.1", "::1", "fd00::2", None, "", "testclient"):
        with pytest.raises(DeniedError, match="one from another address that names a user"):
            users.named(anna, address)
        with pytest.raises(DeniedError, match="one from another address; "):
            users.named([], address)
    assert users.named([(b"X-Remote-User", "Zoë".encode())], "10.0.0.2").role == "admin"
    for none in ([], [(b"x-remote-user", b"")], [(b"x-remote-user", b"  ")], [(b"x-user", b"a")]):
        with pytest.raises(UnknownUserError, match="the name of a user from the proxy"):
            users.named(none, "10.0.0.2")
    for wrong in (b"a" * 101, b"a\tb", b"\xff\xfe", b"a\xc2\x85b"):
        with pytest.raises(DeniedError):
            users.named([(b"x-remote-user", wrong)], "10.0.0.2")
    with pytest.raises(DeniedError, match="2 of them"):
        users.named([*anna, *anna], "10.0.0.2")


def test_without_the_flag_no_header_names_anybody(server: Running) -> None:
    forged = as_user(server, "root")
    assert forged.get("/api/info").json["user"] == {"name": "", "role": "admin"}
    at = forged.open()
    assert server.client.get(at).status == 200


def test_this_machine_is_the_proxy_where_none_is_named() -> None:
    users = Users(HEADER)
    anna = [(b"x-remote-user", b"anna")]
    assert users.named(anna, "127.0.0.1").role == users.named(anna, "::1").role == "annotator"
    with pytest.raises(DeniedError):
        users.named(anna, "10.0.0.1")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"user_header": "X Remote"}, "--user-header"),
        ({"user_header": ""}, "--user-header"),
        ({"user_header": "X-User", "trusted_proxy": ("10.0.0.300",)}, "--trusted-proxy"),
        ({"user_header": "X-User", "trusted_proxy": ("proxy",)}, "--trusted-proxy"),
        ({"user_header": "X-User", "role": ("anna=boss",)}, "annotator, reviewer, admin"),
        ({"user_header": "X-User", "role": ("=admin",)}, "USER=ROLE"),
        ({"role": ("anna=admin",)}, "--user-header beside --role"),
        ({"trusted_proxy": ("10.0.0.1",)}, "--user-header beside --trusted-proxy"),
        ({"keep_days": 0}, "keep-days"),
    ],
)
def test_options_that_make_no_sense(how: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        ServeJob(**how)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_forged_headers_over_the_network(desk: Desk, audit: Audit) -> None:
    """The server believes 10.0.0.2; these requests come from this machine."""
    with running(desk, users=Users(HEADER, ["10.0.0.2"]), audit=audit) as served:
        for path in ("/api/info", "/api/sessions", "/", f"/?token={TOKEN}", "/auth/"):
            answer = as_user(served, "root").get(path)
            assert answer.status == 403, path
            assert "the proxy of this server" in answer.json["detail"]
        assert served.client.get("/api/info").status == 403, "without the header, too"
        assert as_user(served, "x").get("/api/health").status == 200
        assert not desk.works
    found = lines(audit)
    assert {line["status"] for line in found} == {403}
    assert {line["address"] for line in found} == {"127.0.0.1"}
    assert "root" not in json.dumps(found), "a forged name is nobody's"


def test_no_name_no_entrance_and_the_token_is_needed_beside_it(served: Running) -> None:
    assert served.client.get("/api/info").status == 401
    assert served.client.post("/api/sessions", path="scan.nii.gz").status == 401
    for headers in ({HEADER: "anna"}, {HEADER: "anna", "Authorization": "Bearer x"}):
        assert Client(served.client.port, headers).get("/api/info").status == 401
    client = pytest.importorskip("websockets.sync.client")
    at = as_user(served, "anna").open()
    url = f"ws://127.0.0.1:{served.client.port}{at}/events"
    right = {"Authorization": f"Bearer {TOKEN}"}
    with pytest.raises(Exception, match="403"):
        client.connect(url, additional_headers=right)
    with client.connect(url, additional_headers={**right, HEADER: "anna"}):
        pass


def test_two_users_on_one_image(served: Running, root: Path) -> None:
    """Each has work of their own, and neither sees or takes that of the other."""
    anna, bert = as_user(served, "anna"), as_user(served, "bert")
    at, other = anna.open(), bert.open()
    anna.post(f"{at}/prompts", box=BOX_A, slice=10, object="mine")
    bert.post(f"{other}/prompts", box=BOX_B, slice=10, object="his")
    mine, his = patched({}, settled(anna, at)), patched({}, settled(bert, other))
    assert (list(mine), list(his)) == (["mine"], ["his"])
    for method, path in (
        *(("GET", at), ("GET", f"{at}/changes"), ("GET", f"{at}/slices?index=3")),
        *(("GET", f"{at}/download?ending=.nii.gz"), ("DELETE", at), ("POST", f"{at}/undo")),
        *(("POST", f"{at}/prompts"), ("POST", f"{at}/objects"), ("POST", f"{at}/save")),
        *(("GET", f"{at}/measurements"), ("POST", f"{at}/cancel"), ("POST", f"{at}/times")),
    ):
        body = None if method == "GET" else {}
        assert bert.ask(method, path, body).status == 404, path
    client = pytest.importorskip("websockets.sync.client")
    socket = f"ws://127.0.0.1:{served.client.port}{at}/events"
    with (
        pytest.raises(Exception, match=r"403|4404"),
        client.connect(
            socket,
            additional_headers={"Authorization": f"Bearer {TOKEN}", HEADER: "bert"},
        ) as connection,
    ):
        connection.recv(timeout=10)
    assert anna.post("/api/sessions", path="scan.nii.gz").status == 409, "her own other window"
    assert bert.open(take_over=True) != other, "his own"
    assert anna.get(at).status == 200
    assert anna.post("/api/sessions", path="scan.nii.gz", of="bert").status == 403
    listed = {
        e["path"]: e["open"] for e in as_user(served, "cora").get("/api/images").json["entries"]
    }
    assert listed == {"scan.nii.gz": False}
    anna.ask("DELETE", at)
    again = anna.get(anna.open()).json
    assert [o["name"] for o in again["objects"]] == ["mine"]
    assert len(list((root / ".promptseg").rglob("session*.jsonl"))) == 2


def test_two_users_on_one_slide(served: Running, root: Path) -> None:
    write_slide(root / "shapes.tif")
    anna, bert = as_user(served, "anna"), as_user(served, "bert")
    body = {"view": [300, 200, 900, 600], "zoom": 0, "box": [390, 290, 650, 410]}

    def opened(client: Client, **how: Any) -> str:
        answer = client.post("/api/slides", path="shapes.tif", **how)
        assert answer.status == 200, answer.body
        return f"/api/slides/{answer.json['session']}"

    at, other = opened(anna), opened(bert)
    assert anna.post(f"{at}/prompts", **body).json["steps"] == ["start", "box on object 1"]
    assert bert.get(other).json["steps"] == ["start"]
    for path in ("", "/tile", "/outline?version=1", "/download"):
        assert bert.get(at + path).status == 404, path
    assert bert.post(f"{at}/prompts", **body).status == 404
    assert anna.post("/api/slides", path="shapes.tif").status == 409
    ruth = as_user(served, "ruth")
    seen = opened(ruth, of="anna")
    assert ruth.get(seen).json["steps"] == ["start", "box on object 1"]
    assert ruth.post(f"{seen}/prompts", **body).status == 403
    boss = as_user(served, "root")
    seen = opened(boss, of="anna")
    assert "that of somebody else" in boss.post(f"{seen}/undo").json["detail"]
    assert anna.get(at).json["position"] == 1
    assert bert.post("/api/slides", path="shapes.tif", of="anna").status == 403


def test_reviewers_read_and_flag(served: Running, root: Path) -> None:
    anna, ruth = as_user(served, "anna"), as_user(served, "ruth")
    at = anna.open()
    anna.post(f"{at}/prompts", box=BOX_A, slice=10, object="liver")
    mask = patched({}, settled(anna, at))["liver"]
    assert ruth.get("/api/info").json["user"] == {"name": "ruth", "role": "reviewer"}
    assert ruth.post("/api/sessions", path="scan.nii.gz", of="nobody").status == 404
    seen = ruth.open(of="anna")
    np.testing.assert_array_equal(patched({}, settled(ruth, seen))["liver"], mask)
    for method, path, body in (
        ("POST", f"{seen}/prompts", {"box": BOX_B, "slice": 10}),
        ("POST", f"{seen}/undo", {}),
        ("POST", f"{seen}/objects", {}),
        ("PUT", f"{seen}/objects", {"object": "liver", "remove": True}),
        ("POST", f"{seen}/save", {"path": "a.nii.gz"}),
        ("POST", "/api/uploads", {}),
        ("POST", "/api/demo", {}),
        ("POST", "/claim", {}),
        ("POST", "/infer/bright", {}),
        ("PUT", "/datastore/label", {}),
        ("DELETE", "/api/users/anna", None),
    ):
        answer = ruth.ask(method, path, body)
        assert answer.status == 403, path
        assert "who reads and flags" in answer.json["detail"]
    flagged = ruth.put("/api/images", path="scan.nii.gz", state="flagged", note="left lobe")
    assert flagged.json["state"] == "flagged"
    assert ruth.ask("DELETE", seen).status == 200
    assert anna.get(at).json["position"] == 1
    assert sorted(p.name for p in root.iterdir()) == [".promptseg", "scan.nii.gz"]
    own = ruth.open()
    assert ruth.get(own).json["objects"] == []


def test_colours_are_of_those_who_chose_them(served: Running, root: Path) -> None:
    """Of several people on one image, and of whoever looks at their work."""
    anna, bert, boss = (as_user(served, name) for name in ("anna", "bert", "root"))
    at, other = anna.open(), bert.open()
    anna.post(f"{at}/objects", name="liver", colour=[1, 2, 3])
    bert.post(f"{other}/objects", name="kidney", colour=[7, 8, 9])
    seen = boss.open(of="anna")
    assert boss.get(seen).json["objects"][0]["colour"] == [1, 2, 3]
    assert boss.put(f"{seen}/objects", object="liver", colour=[9, 9, 9]).status == 403
    anna.ask("DELETE", at)
    again = anna.get(anna.open()).json
    assert again["objects"][0]["colour"] == [1, 2, 3]
    known = {n: c for n, *c in served.desk.folder.remembered("scan.nii.gz").colours}  # type: ignore[union-attr]
    assert known == {"liver": [1, 2, 3], "kidney": [7, 8, 9]}


def test_work_that_is_looked_at_is_never_written(served: Running, root: Path) -> None:
    anna, boss = as_user(served, "anna"), as_user(served, "root")
    at = anna.open()
    anna.post(f"{at}/prompts", box=BOX_A, slice=10, object="liver")
    settled(anna, at)
    (file,) = (root / ".promptseg").rglob("session*.jsonl")
    before = file.read_bytes()
    seen = boss.open(of="anna", afresh=True)
    assert boss.get(seen).json["steps"] == ["start", "box on liver"]
    for path, body in (("undo", {}), ("prompts", {"box": BOX_B, "slice": 3}), ("objects", {})):
        assert boss.post(f"{seen}/{path}", **body).status == 403
    assert file.read_bytes() == before
    file.write_bytes(b"broken")
    boss.ask("DELETE", seen)
    assert boss.post("/api/sessions", path="scan.nii.gz", of="anna").status == 400
    assert file.read_bytes() == b"broken"


def test_admins_see_who_works_and_end_it(served: Running, audit: Audit) -> None:
    anna, boss = as_user(served, "anna"), as_user(served, "root")
    at = anna.open()
    for path in ("/api/users", "/api/audit"):
        assert anna.get(path).status == 403
        assert as_user(served, "ruth").get(path).status == 403
    assert anna.ask("DELETE", "/api/users/anna").status == 403
    (user,) = boss.get("/api/users").json["users"]
    assert (user["user"], [s["path"] for s in user["sessions"]]) == ("anna", ["scan.nii.gz"])
    assert at.rpartition("/")[2] not in json.dumps(user), "the name of a session opens it"
    assert boss.ask("DELETE", "/api/users/anna").json == {"ended": 1}
    assert "an admin ended it" in anna.get(at).json["detail"]
    told = boss.get("/api/audit?count=2").json["lines"]
    assert [line["did"] for line in told] == ["DELETE /api/users/{user}"] * 2
    for wrong in ("0", "x", "99999"):
        assert boss.get(f"/api/audit?count={wrong}").status == 400


def test_the_log_says_who_did_what_and_nothing_of_the_image(
    served: Running, audit: Audit, root: Path
) -> None:
    os.rename(root / "scan.nii.gz", root / "Mueller_Erna.nii.gz")
    anna = as_user(served, "anna")
    at = anna.open("Mueller_Erna.nii.gz")
    anna.post(f"{at}/prompts", box=BOX_A, slice=10, object="Erna's liver")
    anna.get(f"{at}/slices?index=3")
    anna.post(f"{at}/preview", box=BOX_A, slice=10)
    anna.put("/api/images", path="Mueller_Erna.nii.gz", note="Erna M., born 1950")
    anna.post(f"{at}/save", path="out/Mueller.nii.gz")
    anna.get(f"{at}/download?ending=.nii.gz")
    anna.post("/api/sessions", path="../Mueller")
    as_user(served, "ruth").post(f"{at}/undo")
    image = Folder(root).id_of("Mueller_Erna.nii.gz")
    found = lines(audit)
    assert [(x["user"], x["role"], x["did"], x["status"], x.get("image")) for x in found] == [
        ("anna", "annotator", "POST /api/sessions", 200, image),
        ("anna", "annotator", "POST /api/sessions/{session}/prompts", 200, image),
        ("anna", "annotator", "PUT /api/images", 200, image),
        ("anna", "annotator", "POST /api/sessions/{session}/save", 200, image),
        ("anna", "annotator", "GET /api/sessions/{session}/download", 200, image),
        ("anna", "annotator", "POST /api/sessions", 404, None),
        ("ruth", "reviewer", "refused: an annotator for what changes something", 403, None),
    ]
    assert image in {p.name for p in (root / ".promptseg").iterdir()}, "where an admin finds it"
    text = audit.path.read_text()
    for secret in ("Mueller", "Erna", "liver", "born", "nii", at.rpartition("/")[2], TOKEN):
        assert secret not in text, secret
    times = [x["time"] for x in found]
    assert times == sorted(times)
    assert times[0].endswith("+00:00")


def test_wrong_tokens_are_written_down(desk: Desk, audit: Audit) -> None:
    with running(desk, audit=audit) as served:
        Client(served.client.port, {"Authorization": "Bearer x"}).get("/api/images?folder=Mueller")
        served.client.open()
    found = lines(audit)
    assert [(x["did"], x["status"]) for x in found] == [
        ("wrong token", 401),
        ("POST /api/sessions", 200),
    ]
    assert "user" not in found[1]


def test_the_log_has_a_bound_and_is_only_added_to(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", most_bytes=400, kept=2)
    seen: list[bytes] = []
    for number in range(60):
        audit.write(did=f"step {number}", status=200, user=None)
        content = audit.path.read_bytes()
        assert content.endswith(b"\n")
        assert not seen or content.startswith(seen[-1]) or seen[-1] == older(audit, 1)
        seen.append(content)
        files = sorted(p.name for p in tmp_path.iterdir())
        assert set(files) <= {"audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"}
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 3 * 500
    assert [line["did"] for line in audit.last(3)] == ["step 57", "step 58", "step 59"]
    assert audit.last(1)[0].keys() == {"time", "did", "status"}


def older(audit: Audit, number: int) -> bytes:
    return audit.path.with_name(f"{audit.path.name}.{number}").read_bytes()


def test_a_log_that_cannot_be_written_stops_nobody(
    desk: Desk, audit: Audit, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with running(desk, audit=audit) as served:
        audit.path.mkdir(parents=True)
        with caplog.at_level(logging.INFO, logger="promptseg.serve"):
            served.client.ask("DELETE", served.client.open())
    said = [r.getMessage() for r in caplog.records if "audit" in r.getMessage()]
    assert said == ["the audit log cannot be written"]
    with pytest.raises(OutputError):
        Audit(audit.path)


def aged(path: Path, days: float, content: bytes = b"{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_old_sessions_go_and_nothing_else(root: Path, tmp_path: Path) -> None:
    folder = Folder(root)
    place = folder.session_file("scan.nii.gz").parent
    gone = [
        aged(place / "session.jsonl", 31),
        aged(place / "session-0123456789ab.jsonl", 400),
        aged(place / "session-1764442800000000000.jsonl", 31),
    ]
    outside = aged(tmp_path / "session.jsonl", 99)
    stays = [
        aged(place / "session-aaaaaaaaaaaa.jsonl", 29),
        aged(place / "session-bbbbbbbbbbbb.jsonl", 99),  # open
        aged(place / "image.json", 99),
        aged(place / "session.jsonl.bak", 99),
        aged(place / "session-mine.jsonl", 99),
        aged(root / ".promptseg" / "audit.jsonl", 99),
        aged(root / ".promptseg" / "times.jsonl", 99),
        aged(root / ".promptseg" / "mine" / "session.jsonl", 99),
        aged(root / "session.jsonl", 99),
        aged(root / "0123456789abcdef01234567" / "session.jsonl", 99),
        aged(root / "scan_mask.nii.gz", 99),
        outside,
    ]
    link = root / ".promptseg" / ("f" * 24)
    link.mkdir()
    (link / "session.jsonl").symlink_to(outside)
    (root / ".promptseg" / ("e" * 24)).symlink_to(root / "0123456789abcdef01234567")
    old, kept, busy = (place / f"video-{c * 12}" / "journal.jsonl" for c in "abc")
    aged(old, 31)
    aged(old.with_name("masks-0.zip"), 31)
    aged(kept, 31)
    aged(kept.with_name("masks-0.zip"), 1)
    aged(busy, 31)
    (old.parent / "link").symlink_to(outside)
    os.utime(old.parent / "link", (0, 0), follow_symlinks=False)
    stays += [kept, busy]
    gone.append(old)
    assert remove_old(folder, 30, {stays[1], busy}) == 4
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stays)
    assert (link / "session.jsonl").is_symlink()
    assert remove_old(folder, 30, {stays[1], busy}) == 0
    assert remove_old(Folder(tmp_path), 30) == 0, "nothing of ours there"


def test_removing_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, told = Folder(root), []
    aged(folder.session_file("scan.nii.gz"), 31)
    with caplog.at_level(logging.INFO, logger="promptseg.serve"):
        end = keep_for(folder, 30, set, told.append)
        for _ in range(500):
            if told:
                break
            time.sleep(0.01)
        end()
    assert told == [1]
    said = [r.getMessage() for r in caplog.records]
    assert said == ["1 files of sessions older than 30 days were removed"]


def test_what_is_open_is_kept(root: Path) -> None:
    desk = Desk({"bright": bright()}, Folder(root), Limits(), OPTIONS, encode=False)
    work = desk.open_path("scan.nii.gz")
    work.change(lambda: work.session.new_object("a"))
    assert work.file is not None
    os.utime(work.file, (0, 0))
    files = {w.file for w in desk.all_works if w.file is not None}
    assert remove_old(Folder(root), 1, files) == 0
    desk.close(work.id)
    assert remove_old(Folder(root), 1) == 1
    desk.stop()


def test_leases_of_viewers_belong_to_their_user(served: Running) -> None:
    anna, bert = as_user(served, "anna"), as_user(served, "bert")
    lease = {"X-Lease-Token": anna.post("/claim").json["lease_token"]}
    assert anna.ask("GET", "/lease_status", None, lease).status == 200
    assert bert.ask("GET", "/lease_status", None, lease).status == 410
    assert bert.ask("POST", "/release", {}, lease).status == 410
    assert anna.ask("POST", "/release", {}, lease).status == 200


def test_two_users_on_one_video(served: Running, root: Path) -> None:
    pytest.importorskip("av", reason="the extra video is not installed")
    from formats import video_makers

    video_makers.write_video(root / "clip.mkv", video_makers.textured(8))
    anna, bert = as_user(served, "anna"), as_user(served, "bert")

    def opened(client: Client) -> str:
        answer = client.post("/api/videos", path="clip.mkv")
        assert answer.status == 200, answer.body
        return f"/api/videos/{answer.json['session']}"

    at, other = opened(anna), opened(bert)
    assert anna.post(f"{at}/objects", name="mine").json["steps"][-1] == "new: mine"
    assert bert.get(other).json["objects"] == []
    for path in ("", "/timeline", "/masks?frame=0", "/frame?frame=0"):
        assert bert.get(at + path).status == 404, path
    assert bert.post(f"{at}/undo").status == 404
    assert anna.post("/api/videos", path="clip.mkv").status == 409, "her own other window"
    for client in (anna, bert):
        client.ask("DELETE", at)
        client.ask("DELETE", other)
    assert [o["name"] for o in anna.get(opened(anna)).json["objects"]] == ["mine"]
    cora = as_user(served, "cora")
    assert cora.get("/api/videos?path=clip.mkv").json["sessions"] == []
    assert cora.get(opened(cora)).json["objects"] == []
    ruth = as_user(served, "ruth")
    assert ruth.post(f"{opened(ruth)}/objects").status == 403
