"""A folder with a CT of two bright balls, and a server on it."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from fakes import ball
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.limits import Limits
from serve.fake_server import OPTIONS, TOKEN, bright

SHAPE = (20, 40, 48)
A, B = ball(SHAPE, (10, 20, 12), 5), ball(SHAPE, (10, 20, 36), 5)
BOX_A, BOX_B = [7, 15, 17, 25], [31, 15, 41, 25]


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Plain requests; errors are answers."""

    port: int
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answered:
        data = (
            body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        )
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(
            url, data, {**self.headers, **(headers or {})}, method=method
        )
        try:
            with _OPENER.open(request, timeout=60) as answer:
                return Answered(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answered(error.code, _lower(error.headers), error.read())

    def get(self, path: str) -> Answered:
        return self.ask("GET", path)

    def post(self, path: str, /, **body: Any) -> Answered:
        return self.ask("POST", path, body)

    def put(self, path: str, /, **body: Any) -> Answered:
        return self.ask("PUT", path, body)

    def open(self, path: str = "scan.nii.gz", **how: Any) -> str:
        answer = self.post("/api/sessions", path=path, **how)
        assert answer.status == 200, answer.body
        return f"/api/sessions/{answer.json['session']}"


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def write_scan(path: Path) -> None:
    values = np.where(A | B, 200, 0).astype(np.int16)
    nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 2.0, 1.0])), path)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let files of this ending fail to be read, as on a network disk that is away for a moment."""

    def failing(ending: str) -> None:
        read = Path.read_bytes

        def read_bytes(path: Path) -> bytes:
            if path.name.endswith(ending):
                raise OSError(errno.EIO, "Input/output error")
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", read_bytes)

    return failing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    folder.mkdir()
    write_scan(folder / "scan.nii.gz")
    return folder


@pytest.fixture
def desk(root: Path) -> Iterator[Desk]:
    found = Desk({"bright": bright()}, Folder(root), Limits(), OPTIONS)
    yield found
    found.stop()


@dataclass
class Running:
    client: Client
    desk: Desk
    slept: list[float]


@pytest.fixture
def server(desk: Desk) -> Iterator[Running]:
    with running(desk) as found:
        yield found


@contextmanager
def running(desk: Desk, **how: Any) -> Iterator[Running]:
    """The application in a real server, whose wrong tokens are slowed in a list."""
    uvicorn = pytest.importorskip("uvicorn")
    from promptseg.serve.web.app import application

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    listener = socket.create_server(("127.0.0.1", 0))
    app = application(desk, TOKEN, sleep=sleep, **how)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    served = uvicorn.Server(config)
    thread = threading.Thread(target=served.run, args=([listener],), daemon=True)
    thread.start()
    while not served.started:
        time.sleep(0.01)
    yield Running(Client(listener.getsockname()[1]), desk, slept)
    served.should_exit = True
    thread.join(timeout=20)
    listener.close()
