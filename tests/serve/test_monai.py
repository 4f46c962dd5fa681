"""MONAI Label's own client module of 3D Slicer, unmodified, and its protocol by hand."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import warnings
import weakref
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

import promptseg
from models.peer import fetch
from promptseg.errors import InputError, ModelError
from promptseg.formats.masks import read_masks
from promptseg.image import Segment
from promptseg.result import Result
from promptseg.segment.session import Session
from promptseg.serve.desk import Desk
from promptseg.serve.monai import Request, Rooms
from promptseg.serve.web.monai import parts_of
from serve.conftest import BOX_A, SHAPE, TOKEN, A, B, Client, Running
from serve.fake_server import OPTIONS, bright

WHEEL = "monailabel==0.8.5"
CLICK_A, CLICK_B = [12, 20, 10], [36, 20, 10]
ROI_A = [BOX_A[0], BOX_A[2], BOX_A[1], BOX_A[3], 10, 10]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """`MONAILabelLib/client.py` as the wheel brings it for 3D Slicer."""
    pytest.importorskip("cgi", reason="the client needs cgi, which Python 3.13 no longer has")
    pytest.importorskip("requests")
    wheel = zipfile.ZipFile(fetch(WHEEL))
    [name] = [n for n in wheel.namelist() if n.endswith("MONAILabelLib/client.py")]
    path = tmp_path_factory.mktemp("client") / "client.py"
    path.write_bytes(wheel.read(name))
    spec = importlib.util.spec_from_file_location("monai_client", path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of cgi
        spec.loader.exec_module(found)
    return found


@pytest.fixture
def client(module: ModuleType, server: Running, tmp_path: Path) -> Any:
    place = tmp_path / "slicer"
    place.mkdir()
    found = module.MONAILabelClient(f"http://127.0.0.1:{server.client.port}", str(place), "me")
    assert found.auth_enabled()
    found.update_auth(found.auth_token("anybody", TOKEN))
    assert found.auth_valid_token()
    return found


def mask_of(file: str) -> np.ndarray[Any, Any]:
    pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file))
    assert set(np.unique(pixels)) <= {0, 1}
    return np.asarray(pixels, bool)


def expected(root: Path, *prompts: Any) -> np.ndarray[Any, Any]:
    """What the library gives for the same prompts."""
    result = bright().segment(promptseg.read(root / "scan.nii.gz"), *prompts, options=OPTIONS)
    return np.asarray(result.segments[0].mask(SHAPE))


@pytest.mark.peer
def test_the_module_of_3d_slicer_through_all_its_calls(
    client: Any, root: Path, server: Running
) -> None:
    info = client.info()
    assert set(info["models"]) == {"bright", "bright-slice"}
    assert all(model["type"] == "deepgrow" for model in info["models"].values())
    sample = client.next_sample("first", {})
    assert sample["id"] == "scan.nii.gz"
    params = {"label": "lesion", "foreground": [CLICK_A], "background": []}
    file, told = client.infer("bright", sample["id"], params)
    click = promptseg.Points(((12, 20),), (1,), 10, "lesion")
    assert np.array_equal(mask_of(file), expected(root, click))
    assert told["label_names"] == {"lesion": 1}
    assert SimpleITK.ReadImage(file).GetSpacing() == (1.0, 1.0, 2.0)
    saved = client.save_label(sample["id"], file, "final", {})
    assert saved["label"] == "scan.label.nrrd"
    assert np.array_equal(read_masks(root / saved["label"]).segments[0].mask(SHAPE), mask_of(file))
    assert client.next_sample("first", {}) == {}, "the image is done"
    assert client.save_label(sample["id"], file, "final", {})["label"] == "scan.label-2.nrrd"
    assert "scan.nii.gz" in client.datastore()["objects"]


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd"])
def test_masks_keep_the_names_that_come_with_them(desk: Desk, root: Path, ending: str) -> None:
    image = promptseg.read(root / "scan.nii.gz")
    file = root.parent / f"sent{ending}"
    Result(
        [Segment.from_mask("one", 1, A), Segment.from_mask("two", 2, B)],
        image.geometry,
        image.source,
    ).save(file)
    rooms, sent = Rooms(desk), file.read_bytes()
    kept = rooms.keep_label("scan.nii.gz", file.name, sent, {1: "liver", 2: "spleen"})["label"]
    found = read_masks(root / kept, image)
    assert {s.name: s.label for s in found.segments} == {"liver": 1, "spleen": 2}
    for name, mask in (("liver", A), ("spleen", B)):
        assert np.array_equal(found[name], mask)
    other = rooms.keep_label("scan.nii.gz", file.name, sent, {})["label"]
    assert (root / other).read_bytes() == sent, "as it came, where nobody names anything"
    assert not [*root.rglob(".part-*")]


def test_masks_are_called_after_their_image(desk: Desk, root: Path) -> None:
    rooms, content = Rooms(desk), (root / "scan.nii.gz").read_bytes()
    for name in ("case.1.nii.gz", "case.2.nii.gz"):
        (root / name).write_bytes(content)
    labels = [
        rooms.keep_label(name, "x.nii.gz", content, {})["label"]
        for name in ("case.2.nii.gz", "case.1.nii.gz", "case.1.nii.gz", "scan.nii.gz")
    ]
    assert labels == [
        *("case.2.label.nii.gz", "case.1.label.nii.gz", "case.1.label-2.nii.gz"),
        "scan.label.nii.gz",
    ]
    assert set(rooms.images()["objects"]) == {"case.1.nii.gz", "case.2.nii.gz", "scan.nii.gz"}


def test_an_answer_that_lacks_its_other_slices_is_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread, failed = Session.spread, [1]

    def without_memory(session: Session) -> list[str]:
        if session.unspread and failed:
            failed.pop()
            raise ModelError("a device with enough memory", "none left")
        return spread(session)

    monkeypatch.setattr(Session, "spread", without_memory)
    request = Request.of("bright", {"label": "lesion", "foreground": [CLICK_A]}, "image")
    rooms = Rooms(desk)
    with pytest.raises(ModelError, match="enough memory"):
        rooms.infer(request, "scan.nii.gz", "", "me")
    answer = rooms.infer(request, "scan.nii.gz", "", "me")
    (desk.folder.root / "again.nrrd").write_bytes(answer.content)  # type: ignore[union-attr]
    assert np.array_equal(mask_of(str(desk.folder.root / "again.nrrd")), A)  # type: ignore[union-attr]
    (work,) = desk.works
    assert len(work.session.step.prompts["lesion"]) == 1, "begun anew, not asked twice"


@pytest.mark.peer
def test_a_scan_that_slicer_sends(client: Any, root: Path, server: Running) -> None:
    session = client.create_session(str(root / "scan.nii.gz"))["session_id"]
    assert client.get_session(session)["name"] == session
    params = {"label": "lesion", "foreground": [], "background": [], "roi": ROI_A}
    file, _ = client.infer("bright", "", params, session_id=session)
    box = promptseg.Box(tuple(map(float, BOX_A)), 10, "lesion")
    assert np.array_equal(mask_of(file), expected(root, box))
    flat, _ = client.infer("bright-slice", "", {**params, "label": "other"}, session_id=session)
    assert np.flatnonzero(mask_of(flat).any((1, 2))).tolist() == [10]
    client.remove_session(session)
    with pytest.raises(Exception, match="ended"):
        client.infer("bright", "", params, session_id=session)


@pytest.mark.peer
def test_a_wrong_password_is_slowed_and_refused(module: ModuleType, server: Running) -> None:
    found = module.MONAILabelClient(f"http://127.0.0.1:{server.client.port}")
    with pytest.raises(module.MONAILabelClientException):
        found.auth_token("anybody", "wrong")
    assert server.slept == [0.1]
    assert not found.auth_valid_token()


def ask(server: Running, params: dict[str, Any], model: str = "bright", **query: str) -> Any:
    said = "&".join(f"{k}={v}" for k, v in {"image": "scan.nii.gz", **query}.items())
    return server.client.ask("POST", f"/infer/{model}?{said}", json.dumps(params).encode())


def area(answer: Any, tmp_path: Path) -> int:
    assert answer.status == 200, answer.body
    file = tmp_path / "answer.nrrd"
    file.write_bytes(answer.body)
    return int(mask_of(str(file)).sum())


def test_clicks_are_added_and_taken_back(server: Running, tmp_path: Path) -> None:
    one = {"label": "a", "foreground": [CLICK_A]}
    both = {"label": "a", "foreground": [CLICK_A, CLICK_B]}
    first = area(ask(server, one, output="image"), tmp_path)
    assert first == pytest.approx(A.sum(), rel=0.02)
    again = area(ask(server, both, output="image"), tmp_path)
    assert area(ask(server, one, output="image"), tmp_path) == first, "the second is taken back"
    assert area(ask(server, {**both, "reset_state": True}, output="image"), tmp_path) == again
    other = {"label": "b", "foreground": [CLICK_B]}
    assert area(ask(server, other, output="image"), tmp_path) == pytest.approx(B.sum(), rel=0.02)
    assert area(ask(server, one, output="image"), tmp_path) == first, "objects are kept apart"


def test_the_image_of_a_session_that_ended_is_let_go(desk: Desk) -> None:
    rooms = Rooms(desk)
    asked = Request.of("bright", {"label": "a", "foreground": [CLICK_A]})
    rooms.infer(asked, "scan.nii.gz", "", "first")
    [work] = desk.works
    image, token = weakref.ref(work.session.image), work.id
    del work
    gc.collect()
    assert image() is not None
    desk.close(token)
    rooms.infer(asked, "scan.nii.gz", "", "second")
    gc.collect()
    assert image() is None


def test_two_clients_do_not_share_an_object(server: Running, tmp_path: Path) -> None:
    for name, click, ball in (("x", CLICK_A, A), ("y", CLICK_B, B)):
        params = {"label": "a", "foreground": [click], "client_id": name}
        found = area(ask(server, params, output="image"), tmp_path)
        assert found == pytest.approx(ball.sum(), rel=0.02)


@pytest.mark.parametrize(
    ("params", "query", "status", "said"),
    [
        ({"foreground": []}, {}, 400, "a click or a box"),
        ({"foreground": "here"}, {}, 400, "clicks"),
        ({"foreground": [[1, 2]]}, {}, 400, "clicks"),
        ({"foreground": [[1, 2, 1e9]]}, {}, 400, "clicks"),
        ({"foreground": [[500, 2, 3]]}, {}, 400, "inside the image"),
        ({"roi": [1, 2, 3]}, {}, 400, "roi"),
        ({"foreground": [CLICK_A], "label": 7}, {}, 400, "label"),
        ({"foreground": [CLICK_A]}, {"output": "gif"}, 400, "output"),
        ({"foreground": [CLICK_A]}, {"image": "none.nii.gz"}, 404, "an image"),
        ({"foreground": [CLICK_A]}, {"image": "../x.nii.gz"}, 404, "an image"),
        ({"foreground": [CLICK_A]}, {"session_id": "none"}, 404, "a session"),
        ({"foreground": [CLICK_A]}, {"model": "sam9"}, 404, "a model"),
        ([1], {}, 400, "a JSON object"),
    ],
)
def test_bad_requests_are_answered_in_one_line(
    server: Running, params: Any, query: dict[str, str], status: int, said: str
) -> None:
    answer = ask(server, params, **query)
    assert answer.status == status, answer.body
    assert said in answer.json["detail"]
    assert "\n" not in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", p) for p in ("/info/", "/datastore/", "/session/x", "/auth/token/valid")),
        *(("PUT", p) for p in ("/session/", "/datastore/label?image=scan.nii.gz")),
        *(("POST", p) for p in ("/infer/bright?image=scan.nii.gz", "/activelearning/first")),
        ("GET", "/datastore/image?image=scan.nii.gz"),
        ("DELETE", "/session/x"),
    ],
)
def test_nothing_without_the_token(server: Running, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert Client(server.client.port, headers).ask(method, path, b"{}").status == 401


def test_a_login_reads_no_more_than_a_form(server: Running) -> None:
    body = b"a=" + b"x" * 100_000 + f"&password={TOKEN}".encode()
    assert Client(server.client.port, {}).ask("POST", "/auth/token", body).status == 401


def test_only_masks_of_the_image_are_kept(server: Running, root: Path) -> None:
    before = sorted(p.name for p in root.iterdir())
    between = "x1"
    body = (
        f'--{between}\r\nContent-Disposition: form-data; name="label"; filename="../l.nii.gz"\r\n\r\n'
    ).encode() + b"no mask\r\n--x1--\r\n"
    kind = {"Content-Type": f"multipart/form-data; boundary={between}"}
    answer = server.client.ask("PUT", "/datastore/label?image=scan.nii.gz", body, kind)
    assert answer.status == 400, answer.body
    assert sorted(p.name for p in root.iterdir() if p.name != ".promptseg") == before


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("abcdef", min_size=1), st.text("xyz {}:\n"), max_size=3),
    st.dictionaries(st.text("ghij", min_size=1), st.binary(max_size=200), max_size=3),
)
def test_forms_come_back_as_they_were_sent(fields: dict[str, str], files: dict[str, bytes]) -> None:
    from httpx import Request

    sent = {name: (f"{name}.bin", content) for name, content in files.items()}
    if not fields and not sent:
        return
    parts: Any = {**{k: (None, v) for k, v in fields.items()}, **sent}
    request = Request("PUT", "http://127.0.0.1/", files=parts)
    found, received = parts_of(request.read(), request.headers["content-type"])
    assert found == fields
    assert received == sent


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["multipart/form-data; boundary=x", "a", ""]))
def test_what_is_no_form_raises_nothing_but_our_error(content: bytes, kind: str) -> None:
    with contextlib.suppress(InputError):
        parts_of(b"--x" + content, kind)
