"""DICOMweb servers on loopback: a real Orthanc, and a stub that answers what a test tells it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

_PLUGIN = "libOrthancDicomWeb.so"
_PLUGIN_FOLDERS = (
    "/usr/share/orthanc/plugins",
    "/usr/lib/orthanc",
    "/usr/local/share/orthanc/plugins",
)
_SECONDS = 20


@dataclass
class Orthanc:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        auth: user and password, if it wants them.
    """

    port: int
    auth: tuple[str, str] | None = None

    @property
    def address(self) -> str:
        return f"dicomweb://127.0.0.1:{self.port}/dicom-web"

    def series(self, study: str, series: str) -> str:
        return f"{self.address}/studies/{study}/series/{series}"

    def upload(self, paths: list[Path]) -> None:
        """Put files there by Orthanc's own interface, which is not DICOMweb."""
        for path in paths:
            self._ask("POST", "/instances", data=path.read_bytes())

    def clear(self) -> None:
        for patient in self._ask("GET", "/patients").json():
            self._ask("DELETE", f"/patients/{patient}")

    def instances(self) -> list[dict[str, Any]]:
        """The main tags of every instance, by Orthanc's own interface."""
        listed = self._ask("GET", "/instances?expand").json()
        return [entry["MainDicomTags"] for entry in listed]

    def file_of(self, sop_instance: str) -> bytes:
        """An instance as it is stored, by Orthanc's own interface."""
        found = self._ask("POST", "/tools/lookup", data=sop_instance).json()
        return self._ask("GET", found[0]["Path"] + "/file").content

    def _ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        auth = (self.auth[0].encode(), self.auth[1].encode()) if self.auth else None
        answer = requests.request(
            method, url, auth=auth, timeout=30, proxies={"no_proxy": "*"}, **arguments
        )
        answer.raise_for_status()
        return answer


@contextmanager
def orthanc(folder: Path, auth: tuple[str, str] | None = None) -> Iterator[Orthanc]:
    """An Orthanc of its own, with its storage in `folder`; the test is skipped where there is none."""
    program = shutil.which(
        "Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )
    plugin = next((p for f in _PLUGIN_FOLDERS if (p := Path(f, _PLUGIN)).exists()), None)
    if program is None or plugin is None:
        pytest.skip("no Orthanc with DICOMweb here (Debian: orthanc, orthanc-dicomweb)")
    port = _free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": auth is not None,
        "RegisteredUsers": dict([auth]) if auth else {},
        "OverwriteInstances": False,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "storage").mkdir()
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
    try:
        _wait(process, port, folder / "log")
        yield Orthanc(port, auth)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"Orthanc does not start: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Reply:
    """What the stub answers.

    Attributes:
        status: HTTP status.
        headers: besides Content-Length, which is there unless given here.
        body: the content.
        then: called after the body is sent, before the connection is closed.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    then: Callable[[], None] = lambda: None


@dataclass
class Stub:
    """A server that answers what a test tells it.

    Attributes:
        port: where it listens on 127.0.0.1.
        asked: method, path and headers of every request.
        replies: by "METHOD path" without query; 404 for all others.
    """

    port: int
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    replies: dict[str, Reply] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"dicomweb://127.0.0.1:{self.port}"

    def list_series(self, study: str, *series: dict[str, Any]) -> None:
        """Have QIDO list series with these values by tag."""
        listed = [{tag: {"Value": [value]} for tag, value in one.items()} for one in series]
        self.replies[f"GET /studies/{study}/series"] = Reply(
            headers={"Content-Type": "application/dicom+json"}, body=json.dumps(listed).encode()
        )


@contextmanager
def stub(wrap: Callable[[socket.socket], socket.socket] | None = None) -> Iterator[Stub]:
    """A stub server; `wrap` may put TLS around its socket."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            said.asked.append((self.command, self.path, dict(self.headers)))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = f"{self.command} {self.path.partition('?')[0]}"
            reply = said.replies.get(key, Reply(404))
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            self.wfile.flush()
            reply.then()

        def do_GET(self) -> None:
            self.handle_any()

        def do_POST(self) -> None:
            self.handle_any()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """The client has gone: part of some tests."""

    server = Server(("127.0.0.1", 0), Handler)
    if wrap is not None:
        server.socket = wrap(server.socket)
    said = Stub(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield said
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
