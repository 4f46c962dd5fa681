"""Requests that nobody would make: nothing may crash, be a fault of ours, or leave the folder.

    python -m serve.fuzzing REQUESTS [SEED]

Every route with fields left out, of other types, from the ends of what is possible, beside valid
ones. Requests are made of the application itself, without a network in between. Prints one line of
JSON: how many were answered with which status.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from promptseg.serve.packing import pack
from promptseg.serve.web.app import application
from serve.conftest import BOX_A, SHAPE, write_scan
from serve.fake_server import OPTIONS, TOKEN, bright

SECRET = b"nobody is to read this: 4711"

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, -(2**63), 10**400, 0.5, -0.0, 1e308, "", " ", "\0", "a"),
    *(
        "a" * 5000,
        "\ud800",
        "é\u202e",
        "..",
        "../secret.txt",
        "/etc/passwd",
        ".promptseg",
        "a/../..",
    ),
    *("scan.nii.gz", "%2e%2e/secret.txt", "link/secret.txt", "~", "con", "a\nb", "<b>", "x" * 300),
    *([], {}, [[]], [None], {"a": {}}, [1, 2, 3, 4], [[1, 2]], [[[1]]], [10**18] * 4, ["1"] * 4),
)
_FIELDS: dict[str, Callable[[random.Random], Any]] = {
    "path": lambda r: r.choice(("scan.nii.gz", "sub/scan.nii.gz", "out.nii.gz", "sub/x.seg.nrrd")),
    "object": lambda r: r.choice("abc"),
    "name": lambda r: r.choice("abcd"),
    "axis": lambda r: r.choice("zyx"),
    "slice": lambda r: r.randrange(20),
    "box": lambda r: BOX_A,
    "points": lambda r: [[r.randrange(48), r.randrange(40), r.randrange(2)]],
    "mask": lambda r: {"size": [40, 48], "rle": "900:20 950:10"},
    "marker": lambda r: {"long": [[9, 20], [15, 20]], "short": [[12, 17], [12, 23]]},
    "box3d": lambda r: [7, 15, 5, 17, 25, 15],
    "spread": lambda r: False,
    "as_drawn": lambda r: r.random() < 0.5,
    "since": lambda r: r.randrange(9),
    "to": lambda r: r.randrange(5),
    "colour": lambda r: [1, 2, 3],
    "select": lambda r: True,
    "remove": lambda r: True,
    "overwrite": lambda r: True,
    "overlap": lambda r: r.choice(("keep", "later-wins")),
    "deidentify": lambda r: r.random() < 0.5,
    "state": lambda r: r.choice(("done", "begun")),
    "note": lambda r: "n",
    "take_over": lambda r: True,
    "afresh": lambda r: r.random() < 0.2,
    "do": lambda r: r.choice(("start", "pause", "resume", "stop", "discard")),
    "phase": lambda r: r.choice(("manual", "marker", "refinement")),
    "expert": lambda r: r.choice("12"),
    "case": lambda r: "a case",
    "end_open": lambda r: r.random() < 0.5,
    "model": lambda r: "bright",
    "modality": lambda r: "CT",
    "window": lambda r: r.choice(("minmax", "400/40")),
    "propagate": lambda r: "none",
    "spacing": lambda r: [1, 1, 2],
    "coordinates": lambda r: [10, 20, 12],
    "include_interaction": lambda r: True,
    "run_prediction": lambda r: r.random() < 0.5,
    "bbox_coords": lambda r: [[10, 11], [15, 26], [7, 18]],
    "interaction_bbox": lambda r: [[10, 11], [15, 26], [7, 18]],
    "shape": lambda r: list(SHAPE),
    "dtype": lambda r: "uint8",
    "image_properties": lambda r: {"spacing": [2.0, 1.0, 1.0]},
    "do_autozoom": lambda r: True,
    "force_full_refine": lambda r: True,
    "foreground": lambda r: [[12, 20, r.randrange(20)]],
    "background": lambda r: [[36, 20, 10]],
    "roi": lambda r: [7, 17, 15, 25, r.randrange(10), 10],
    "label": lambda r: r.choice("ab"),
    "reset_state": lambda r: r.random() < 0.2,
    "client_id": lambda r: "me",
    "image": lambda r: r.choice(("scan.nii.gz", "sub/scan.nii.gz")),
    "output": lambda r: r.choice(("image", "all", "dicom_seg")),
}
_READ = ("/healthz", "/capabilities", "/lease_status")
_QUERIES = ("axis", "index", "count", "lower", "upper", "since", "ending", "overlap", "folder")
_MONAI_QUERIES = ("image", "session_id", "output")
_MONAI_FIELDS = ("label", "foreground", "background", "roi", "reset_state", "client_id", "output")
_MONAI = (
    *(
        ("GET", path)
        for path in ("/auth/", "/auth/token/valid", "/info/", "/train/", "/datastore/")
    ),
    *(("GET", "/datastore/image"), ("PUT", "/datastore/label"), ("POST", "/activelearning/first")),
    *(("PUT", "/session/"), ("GET", "/session/{session}"), ("DELETE", "/session/{session}")),
    *(("POST", "/infer/bright"), ("POST", "/infer/bright-slice"), ("POST", "/infer/none")),
    *(("POST", "/auth/token"), ("GET", "/proxy/dicom/qido/studies"), ("GET", "/ohif/")),
    ("POST", "/proxy/dicom/stow/studies"),
)


@dataclass
class Asked:
    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Answered:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def ask(app: Any, asked: Asked) -> Answered:
    """One request of the application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": asked.method,
        "path": asked.path,
        "raw_path": asked.path.encode("utf-8", "replace"),
        "query_string": asked.query,
        "headers": asked.headers,
        "root_path": "",
        "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 80),
    }
    found, sent = Answered(), False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.status = message["status"]
            found.headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
        else:
            found.body += message.get("body", b"")

    await app(scope, receive, send)
    return found


class Fuzzer:
    """Requests at random, of every route there is."""

    def __init__(self, app: Any, rng: random.Random) -> None:
        self.app, self.rng = app, rng
        self.sessions: list[str] = []
        self.lease = ""
        document = json.loads(asyncio.run(ask(app, self._plain("GET", "/api/openapi.json"))).body)
        self.routes = [
            (
                method.upper(),
                path,
                list(_properties(entry)),
                "octet" in str(entry.get("requestBody")),
            )
            for path, methods in document["paths"].items()
            for method, entry in methods.items()
            if path != "/api/demo"  # fetches something
        ]
        remote = (
            *("/healthz", "/capabilities", "/claim", "/release", "/heartbeat", "/lease_status"),
            *("/set_image", "/set_target_buffer", "/set_do_autozoom", "/reset_interactions"),
            *("/add_point_interaction", "/add_bbox_interaction", "/add_scribble_interaction"),
            *("/add_lasso_interaction", "/add_initial_seg_interaction", "/predict", "/undo"),
        )
        fields = ("coordinates", "include_interaction", "run_prediction", "bbox_coords", "shape")
        self.routes += [
            (
                "GET" if path in _READ else "POST",
                path,
                [*fields, "dtype", "interaction_bbox", "do_autozoom"],
                "_" in path,
            )
            for path in remote
        ]
        self.routes += [(method, path, list(_MONAI_FIELDS), False) for method, path in _MONAI]
        self.routes += [("GET", path, [], False) for path in ("/", "/main.js", "/../x", "/api/x")]

    def _plain(self, method: str, path: str, body: bytes = b"", query: bytes = b"") -> Asked:
        headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {TOKEN}".encode())]
        return Asked(method, path, query, [*headers, (b"content-length", b"%d" % len(body))], body)

    def value(self, name: str) -> Any:
        known = _FIELDS.get(name)
        if known is None or self.rng.random() < 0.15:
            return self.rng.choice(_ODD)
        found = known(self.rng)
        if self.rng.random() < 0.15 and isinstance(found, list):
            found = list(found)
            found[self.rng.randrange(len(found))] = self.rng.choice(_ODD)
        return found

    def asked(self) -> Asked:
        rng = self.rng
        method, path, fields, binary = rng.choice(self.routes)
        if not self.sessions and rng.random() < 0.3:
            return self._plain(
                "POST", "/api/sessions", b'{"path": "scan.nii.gz", "take_over": true}'
            )
        if not self.lease and rng.random() < 0.1:
            return self._plain("POST", "/claim")
        if method == "DELETE" and rng.random() < 0.9:
            method = "GET"
        session = rng.choice([*self.sessions[-3:], "nobody", "..", "\0"])
        if self.sessions and rng.random() < 0.8:
            session = self.sessions[-1]
        path = path.replace("{session}", session)
        if binary and rng.random() < 0.8:
            body = self.array(path)
        else:
            body = self.json(fields)
        query = {k: str(self.value(k)) for k in _QUERIES if rng.random() < 0.25}
        if fields[:1] == ["label"]:
            query |= {k: str(self.value(k)) for k in _MONAI_QUERIES if rng.random() < 0.8}
            query["session_id"] = session if rng.random() < 0.3 else ""
        text = urlencode(query, errors="surrogatepass").encode()
        asked = self._plain(
            method if rng.random() < 0.98 else rng.choice(("DELETE", "PATCH", "GET")),
            path,
            body,
            text,
        )
        if self.lease:
            asked.headers.append((b"x-lease-token", self.lease.encode()))
        if method in ("PUT", "POST") and rng.random() < 0.3:
            asked = self.form(asked)
        if rng.random() < 0.7:
            meta = self.json(
                ["spacing", "modality", "interaction_bbox", "image_properties", "run_prediction"]
            )
            asked.headers.append((b"x-meta", meta.replace(b"\n", b"")))
        if rng.random() < 0.02:
            asked.headers[rng.randrange(2)] = rng.choice(
                (
                    (b"host", b"evil.example"),
                    (b"authorization", b"Bearer x"),
                    (b"origin", b"http://x"),
                )
            )
        return asked

    def form(self, asked: Asked) -> Asked:
        """A body in parts, sometimes broken: what was asked, and a file."""
        rng = self.rng
        names = rng.sample(("label", "files", "params", "x"), 2)
        file = rng.choice((b"", b"no mask", self.array("/upload"), b"\x1f\x8b\x08"))
        body = (
            b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n' + asked.body + b"\r\n"
            b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
            % (names[0].encode(), rng.choice((b"a.nii.gz", b"../a.nrrd", b"a.npy", b"")))
            + file
            + b"\r\n--b--\r\n"
        )
        if rng.random() < 0.2:
            body = body[: rng.randrange(len(body))]
        kind = rng.choice((b"multipart/form-data; boundary=b", b"multipart/related; boundary=b"))
        headers = [h for h in asked.headers if h[0] != b"content-length"]
        headers += [(b"content-length", b"%d" % len(body)), (b"content-type", kind)]
        return Asked(asked.method, asked.path, asked.query, headers, body)

    def json(self, fields: list[str]) -> bytes:
        """Some of the fields a route knows, seldom all, sometimes broken."""
        rng = self.rng
        few = rng.sample(fields, min(len(fields), rng.randint(1, 4))) if fields else []
        if "box" in fields and rng.random() < 0.6:
            few = ["object", "slice", rng.choice(("box", "points", "mask", "spread"))]
        content: Any = {name: self.value(name) for name in few}
        if rng.random() < 0.03:
            content = rng.choice(_ODD)
        text = json.dumps(content).encode()
        if rng.random() < 0.03 and text:
            cut = bytearray(text)
            cut[rng.randrange(len(cut))] = rng.randrange(256)
            text = bytes(cut[: rng.randint(1, len(cut))])
        return text

    def array(self, path: str) -> bytes:
        rng = self.rng
        dtype = rng.choice(("u1", "i2", "f4", "f8", "c8", "bool", "U3", ">i4", "u8"))
        shape = rng.choice(
            (SHAPE, (1, *SHAPE), (20, 11, 11), (1, 11, 11), (4,), (0, 3, 3), (2,) * 6)
        )
        values = np.zeros(shape, dtype)
        if dtype not in ("U3", "c8", "bool") and values.size:
            values.flat[rng.randrange(values.size)] = rng.choice((1, 100))
        if dtype in ("f4", "f8") and values.size and rng.random() < 0.3:
            values.flat[0] = np.nan
        stream = BytesIO()
        np.save(stream, values)
        content = stream.getvalue()
        if "upload" not in path and dtype not in ("U3", "c8", ">i4"):
            content = pack(values)
        if rng.random() < 0.2:
            cut = bytearray(content)
            for _ in range(rng.randint(1, 4)):
                cut[rng.randrange(min(len(cut), 200))] = rng.randrange(256)
            content = bytes(cut[: rng.randint(1, len(cut))])
        return content

    def learn(self, asked: Asked, answer: Answered) -> None:
        """Sessions and leases that were opened are used from then on, until they are over."""
        if answer.status in (404, 410):
            self.sessions = [one for one in self.sessions if one not in asked.path]
            if "lease" in answer.body.decode("utf-8", "replace"):
                self.lease = ""
        if answer.status != 200 or asked.method != "POST":
            return
        if asked.path in ("/api/sessions", "/api/uploads"):
            self.sessions.append(json.loads(answer.body)["session"])
        elif asked.path == "/claim":
            self.lease = json.loads(answer.body)["lease_token"]


def _properties(entry: dict[str, Any]) -> list[str]:
    content = entry.get("requestBody", {}).get("content", {}).get("application/json", {})
    return list(content.get("schema", {}).get("properties", {}))


@contextmanager
def watched(outside: Path, root: Path) -> Iterator[list[str]]:
    """Files that are opened beside the root, or written anywhere but below it and in /tmp."""
    seen: list[str] = []
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active or event != "open" or not isinstance(arguments[0], (str, bytes)):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(f"{outside}/") and not f"{path}/".startswith(f"{root}/"):
            seen.append(path)

    sys.addaudithook(hook)
    yield seen
    active = False


def fingerprint(folder: Path, but: Path) -> str:
    """Names and content of everything in a folder but one part of it."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if but not in (path, *path.parents) and path.is_file():
            found.update(f"{path} {path.stat().st_mtime_ns}".encode() + path.read_bytes())
    return found.hexdigest()


def fuzz(count: int, seed: int, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Ask so often; statuses that were answered.

    Raises:
        AssertionError: a fault, a crash, or a file outside the folder was touched.
    """
    rng = random.Random(seed)
    statuses: Counter[int] = Counter()
    logging.getLogger("promptseg").handlers = [logging.NullHandler()]
    logging.getLogger("promptseg").propagate = False
    with tempfile.TemporaryDirectory() as folder:
        outside, root = Path(folder).resolve(), Path(folder).resolve() / "root"
        (root / "sub").mkdir(parents=True)
        for place in (root, root / "sub"):
            write_scan(place / "scan.nii.gz")
        write_scan(outside / "secret.nii.gz")
        (outside / "secret.txt").write_bytes(SECRET)
        (root / "link").symlink_to(outside)
        (root / "secret-link.nii.gz").symlink_to(outside / "secret.nii.gz")
        before = fingerprint(outside, root)
        limits = Limits(sessions=6, upload_mib=4, session_mib=64, memory_mib=256)
        desk = Desk({"bright": bright()}, Folder(root), limits, OPTIONS)

        async def no_sleep(_: float) -> None:
            return None

        fuzzer = Fuzzer(application(desk, TOKEN, sleep=no_sleep), rng)

        async def all_of_them() -> None:
            for number in range(count):
                if number % 200 == 0:  # room again
                    for work in desk.works[:-1]:
                        desk.close(work.id)
                asked = fuzzer.asked()
                answer = await ask(fuzzer.app, asked)
                statuses[answer.status] += 1
                told = f"{asked.method} {asked.path} {asked.query[:200]!r} {asked.body[:600]!r}"
                assert 200 <= answer.status < 500 or answer.status == 503, (
                    f"{told}: {answer.body!r}"
                )
                assert SECRET not in answer.body, told
                assert str(outside).encode() not in answer.body, f"{told}: {answer.body[:500]!r}"
                if (
                    answer.status >= 400
                    and asked.method != "HEAD"
                    and asked.path.startswith("/api")
                ):
                    assert isinstance(json.loads(answer.body)["detail"], str), told
                fuzzer.learn(asked, answer)
                if number % 5000 == 4999:
                    say(f"{number + 1} requests: {dict(statuses)}")

        with watched(outside, root) as seen:
            asyncio.run(all_of_them())
            desk.stop()
        assert not seen, seen[:5]
        assert fingerprint(outside, root) == before, "something beside the folder was changed"
    return {"requests": count, **{str(k): n for k, n in sorted(statuses.items())}}


if __name__ == "__main__":
    print(
        json.dumps(
            fuzz(
                int(sys.argv[1]),
                int(sys.argv[2]) if len(sys.argv) > 2 else 0,
                lambda t: print(t, file=sys.stderr),
            )
        )
    )
