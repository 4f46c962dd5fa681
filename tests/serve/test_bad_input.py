"""What people do wrong, or what goes wrong around them: a status, one line, and nothing harmed."""

from __future__ import annotations

import io
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.formats import read
from promptseg.formats.masks import read_masks
from promptseg.serve.limits import Limits
from serve.conftest import BOX_A, A, Answered, Running


def refused(answer: Answered, status: int, *parts: str) -> None:
    """One line with what was expected."""
    assert answer.status == status, answer.body
    detail = answer.json["detail"]
    assert detail.startswith("expected ")
    assert "\n" not in detail
    assert "Traceback" not in detail
    for part in parts:
        assert part in detail


@pytest.mark.parametrize("route", ["", "/slices", "/changes", "/measurements", "/download"])
def test_unknown_sessions(server: Running, route: str) -> None:
    refused(server.client.get(f"/api/sessions/nobody{route}"), 404, "a session", "open an image")


@pytest.mark.parametrize("route", ["prompts", "preview", "objects", "undo", "times", "save"])
def test_unknown_sessions_take_nothing(server: Running, route: str) -> None:
    refused(server.client.post(f"/api/sessions/nobody/{route}"), 404, "a session")


def test_images_that_are_too_large(server: Running, root: Path) -> None:
    """Of a file and of an array; what was open goes on."""
    values = np.zeros((80, 100, 100), np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), root / "large.nii.gz")
    at = server.client.open()
    server.desk.limits = Limits(session_mib=1)
    refused(server.client.post("/api/sessions", path="large.nii.gz"), 413, "1 MiB", "crop it")
    refused(upload(server, values), 413, "at most")
    assert server.client.get(at).status == 200


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.nii.gz", b"hello"),
        ("empty.nii.gz", b""),
        ("text.png", b"hello"),
        ("empty.dcm", b""),
        ("zeros.dcm", bytes(400)),
        ("text.npz", b"PK\x03\x04 no"),
        ("notes.txt", b"hello"),
        ("half.mp4", b"\0\0\0\x18ftypmp42"),
    ],
)
def test_what_is_no_image(server: Running, root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    answer = server.client.post("/api/sessions", path=name, frame=0 if "mp4" in name else None)
    refused(answer, 400)
    assert str(root) not in answer.json["detail"]
    assert (root / name).read_bytes() == content
    refused(server.client.post("/api/sessions", path="nothing.nii.gz"), 404, "an image")


def upload(server: Running, array: NDArray[Any], **meta: Any) -> Answered:
    stream = io.BytesIO()
    np.save(stream, array)
    headers = {"X-Meta": json.dumps(meta), "Content-Type": "application/octet-stream"}
    return server.client.ask("POST", "/api/uploads", stream.getvalue(), headers)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5),
        np.float64(1),
        np.zeros((2, 3, 4, 5)),
        np.zeros((2, 3, 4, 5, 3), np.uint8),
        np.zeros((0, 4, 4)),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), "U3"),
        np.zeros((4, 4), "M8[s]"),
        np.zeros((4, 4), [("a", "f4")]),
        np.full((4, 4), np.nan),
        np.full((4, 4), np.inf, np.float32),
    ],
    ids=lambda a: f"{a.dtype.kind}{a.shape}",
)
def test_arrays_of_another_kind_or_rank(server: Running, array: NDArray[Any]) -> None:
    refused(upload(server, array), 400)
    assert server.desk.works == []


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", ">i2", "float64"])
def test_arrays_of_any_number_are_taken(server: Running, dtype: str) -> None:
    array = np.zeros((4, 8, 8), dtype)
    array[1:3, 2:6, 2:6] = 1
    assert upload(server, array, spacing=[1, 1, 2]).status == 200


@pytest.mark.parametrize(
    "meta",
    [
        {"spacing": [1, 1]},
        {"spacing": [0, 1, 1]},
        {"spacing": [-1, 1, 1]},
        {"direction": [0] * 9},
        {"origin": "here"},
        {"modality": "X-ray vision"},
        {"window": "0/40"},
        {"axis": "w"},
    ],
)
def test_facts_that_make_no_sense(server: Running, meta: dict[str, Any]) -> None:
    fitting = {"spacing": [1, 1, 1], **meta}
    refused(upload(server, np.zeros((4, 8, 8), np.int16), **fitting), 400)
    assert server.desk.works == []


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process may grow beyond a size: writing fails as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_saving_leaves_nothing_half_done(server: Running, root: Path) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a", spread=False)
    client.post(f"{at}/save", path="old.nii.gz")
    old = (root / "old.nii.gz").read_bytes()
    there = {path.name for path in root.iterdir()}
    with files_end_at(64):
        for body in ({"path": "new.nii.gz"}, {"path": "old.nii.gz", "overwrite": True}):
            answer = client.ask("POST", f"{at}/save", body)
            refused(answer, 400, "written")
            assert str(root) not in answer.json["detail"]
        step = client.post(f"{at}/prompts", points=[[12, 20, 1]], slice=11, spread=False)
        assert step.status == 200
        assert "this step is not on disk" in step.json["warning"]
    assert {path.name for path in root.iterdir()} == there
    assert (root / "old.nii.gz").read_bytes() == old

    later = client.post(f"{at}/objects", name="b")
    assert later.json["warning"] == ""
    client.ask("DELETE", at)
    state = client.get(client.open()).json
    assert state["steps"] == ["start", "box on a", "point on a", "new b"]


def test_what_is_saved_after_a_full_disk_is_whole(server: Running, root: Path) -> None:
    client = server.client
    at = client.open()
    client.post(f"{at}/prompts", box=BOX_A, slice=10, object="a", spread=False)
    with files_end_at(64):
        assert client.post(f"{at}/save", path="mask.nii.gz").status == 400
    assert client.post(f"{at}/save", path="mask.nii.gz").status == 200
    (found,) = read_masks(root / "mask.nii.gz", read(root / "scan.nii.gz")).segments
    np.testing.assert_array_equal(found.mask(A.shape)[10], A[10])
