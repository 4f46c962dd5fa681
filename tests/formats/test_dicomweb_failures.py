"""What can go wrong with a DICOMweb server: one clear error each, and secrets stay secret."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicomweb_servers import Reply, Stub, stub
from formats.helpers import GRIDS, write_dicom_series
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats import read
from promptseg.formats.dicomweb import Address, check_store, connection, retrieve, store
from promptseg.formats.dicomweb.multipart import encode
from promptseg.formats.location import address_in, written

STUDY, SERIES = "1.2.3.4", "1.2.3.4.5"
WADO = f"GET /studies/{STUDY}/series/{SERIES}"
TOKEN = "s3cr3t.t0k3n"


@pytest.fixture
def server() -> Iterator[Stub]:
    with stub() as running:
        yield running


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, which has to be empty in the end; no credentials."""
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"PROMPTSEG_DICOMWEB_{name}", raising=False)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def address(server: Stub) -> str:
    return f"{server.address}/studies/{STUDY}/series/{SERIES}"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return write_dicom_series(
        tmp_path / "series", GRIDS["plain"], uid=SERIES, StudyInstanceUID=STUDY
    )


def serve(server: Stub, files: list[Path], count: int | None = None) -> Reply:
    """Have the stub give a series; the reply may be spoilt."""
    listed: dict[str, Any] = {"0020000E": SERIES, "00080060": "CT"}
    server.list_series(STUDY, listed | {"00201209": len(files) if count is None else count})
    kind, body = encode([path.read_bytes() for path in files])
    server.replies[WADO] = Reply(headers={"Content-Type": kind}, body=body)
    return server.replies[WADO]


def refusal(server: Stub) -> str:
    with pytest.raises(PromptsegError) as caught:
        read(address(server))
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- credentials ------------------------------------------------------------------------------------


def test_a_bearer_token_is_sent_with_every_request_and_kept_nowhere(
    server: Stub,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    serve(server, files)
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_TOKEN", TOKEN)
    caplog.set_level("DEBUG")
    image = read(address(server))
    assert [h.get("Authorization") for _, _, h in server.asked] == [f"Bearer {TOKEN}"] * 2
    assert TOKEN not in repr((image.source, caplog.text))
    server.replies.clear()
    assert TOKEN not in refusal(server)


def test_without_credentials_none_are_sent_whatever_netrc_says(
    server: Stub, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, files)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    read(address(server))
    assert all("Authorization" not in headers for _, _, headers in server.asked)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_named_and_not_followed(
    status: int, server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_TOKEN", TOKEN)
    with stub() as other:
        there = f"http://user:pass@127.0.0.1:{other.port}/elsewhere?signature=abc"
        server.replies[f"GET /studies/{STUDY}/series"] = Reply(status, {"Location": there})
        said = refusal(server)
        assert other.asked == []
    assert f"a redirect to http://127.0.0.1:{other.port}/elsewhere; name that address" in said
    assert "signature" not in said


def test_credentials_in_the_address_are_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["info", "dicomweb://me:hunter2@pacs.example/studies/1.2"]) == 2
    said = capsys.readouterr().err
    assert "set PROMPTSEG_DICOMWEB_USER and PROMPTSEG_DICOMWEB_PASSWORD instead" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "given",
    [
        {"USER": "a"},
        {"PASSWORD": "hunter2"},
        {"USER": "a", "PASSWORD": "hunter2", "TOKEN": "hunter2"},
        {"TOKEN": "hunter2\r\nX-More: 1"},
        {"TOKEN": "hunter2 "},
        {"TOKEN": "hunter2é"},
    ],
)
def test_credentials_that_cannot_be_sent_are_refused(
    given: dict[str, str], server: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"PROMPTSEG_DICOMWEB_{name}", value)
    assert "hunter2" not in refusal(server)
    assert server.asked == []


# --- addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("dicomweb://pacs.example/dicom-web", "https://pacs.example/dicom-web"),
        ("dicomweb://pacs.example:8443", "https://pacs.example:8443"),
        ("dicomweb://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web"),
        ("dicomweb://localhost/a/b", "http://localhost/a/b"),
        ("dicomweb://[::1]:8042/a", "http://[::1]:8042/a"),
        ("dicomweb+http://pacs.example/a", "http://pacs.example/a"),
        ("DICOMweb+HTTPS://localhost/a", "https://localhost/a"),
    ],
)
def test_https_unless_it_is_this_machine_or_asked_for(text: str, root: str) -> None:
    for path in (text, Path(text), f"{text}/studies/1.2/series/3.4", Path(f"{text}/studies/1.2")):
        found = Address.parse(path)
        assert found.root == root
        assert found.is_open == (root == "http://pacs.example/a")
    found = Address.parse(f"{text}/studies/1.2/series/3.4")
    assert (found.study, found.series) == ("1.2", "3.4")
    assert Address.parse(found.at("5.6", "7.8")).root == root


@pytest.mark.parametrize(
    "text",
    [
        "dicomweb://",
        "dicomweb:///studies/1.2",
        "dicomweb://pacs.example:port/studies/1.2",
        "dicomweb://pacs.example:99999/studies/1.2",
        "dicomweb://[::1/studies/1.2",
        "dicomweb://pacs.example/studies/all",
        "dicomweb://pacs.example/studies/1.2/series/3.4/instances/5.6",
        "dicomweb://pacs.example/series/3.4",
        "dicomweb://pacs.example/studies/1.2?limit=3",
        "dicomweb://pacs.example/a",
    ],
)
def test_addresses_that_name_no_series_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="address"):
        read(text)


def test_files_are_no_addresses() -> None:
    assert address_in("scan.nii.gz") is None
    assert address_in(Path("dicomweb/scan.dcm")) is None
    assert written(Path("scan.dcm")) == str(Path("scan.dcm").absolute())
    assert written(Path("dicomweb://h/x")) == "dicomweb://h/x"


# --- servers ----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(InputError, match=r"a DICOMweb server .*refused.*check host, port"):
            read(f"dicomweb://127.0.0.1:{port}/studies/1.2")
    with pytest.raises(InputError, match=r"a DICOMweb server .*check host, port and network"):
        read("dicomweb://no-such-host.invalid/studies/1.2")


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example", "exa mple", "%zz", "é.invalid"])
def test_a_host_that_cannot_be_one(host: str) -> None:
    with pytest.raises(InputError, match=r"a DICOMweb server .*check host, port and network"):
        read(f"dicomweb://{host}/studies/1.2")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(403), "HTTP 403, forbidden; ask who runs the server"),
        (Reply(404), "HTTP 404, no such thing; check the path"),
        (Reply(500), "HTTP 500; see the server's log"),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>"), "DICOM JSON .*, got text/html"),
        (Reply(200, {}, b'{"a": 1}'), "a list of series"),
        (Reply(200, {}, b"[" * 100_000), "DICOM JSON"),
        (Reply(200, {}, b'[1, {"0020000E": 2}, {"0020000E": {"Value": [{}]}}]'), "none such"),
        (Reply(204), "a series on the server, got none such"),
        (Reply(200, {"Content-Length": "100"}, b"[]"), "cut off"),
        (Reply(200, {"Content-Encoding": "gzip"}, b"[]"), "cut off"),
    ],
)
def test_answers_that_are_no_list(reply: Reply, said: str, server: Stub) -> None:
    server.replies[f"GET /studies/{STUDY}/series"] = reply
    with pytest.raises(PromptsegError, match=said):
        read(address(server))


def test_a_server_that_does_not_answer_in_time(
    server: Stub, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.2)
    reply = serve(server, files)
    reply.headers["Content-Length"] = str(len(reply.body) + 1)
    reply.then = lambda: time.sleep(0.5)
    assert "a complete answer" in refusal(server)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(InputError, match=r"an answer .*, got none within 0\.2 s"):
            read(f"dicomweb://127.0.0.1:{silent.getsockname()[1]}/studies/1.2")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_message_cut_short_is_not_taken_for_a_series(
    keep: float, server: Stub, files: list[Path]
) -> None:
    reply = serve(server, files)
    reply.body = reply.body[: int(keep * len(reply.body))]
    assert "the message ends before its closing boundary; try again" in refusal(server)
    reply.headers["Content-Length"] = str(len(reply.body) + 1)
    assert "a complete answer" in refusal(server)


def test_missing_instances_are_noticed(server: Stub, files: list[Path]) -> None:
    serve(server, files, count=6)
    assert "expected 6 instances, as the server lists them" in refusal(server)
    assert ", got 5;" in refusal(server)


def test_objects_that_are_not_in_parts(server: Stub, files: list[Path]) -> None:
    serve(server, files).headers["Content-Type"] = "application/dicom"
    assert "DICOM objects in multipart/related" in refusal(server)
    assert "got application/dicom" in refusal(server)


def test_more_than_there_is_room_for(
    server: Stub, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, files)
    monkeypatch.setattr(retrieve, "_LARGEST_SERIES", 2000)
    assert "a series that fits into the folder for temporary files" in refusal(server)


def test_a_list_without_end(server: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LARGEST_JSON", 1000)
    server.replies[f"GET /studies/{STUDY}/series"] = Reply(body=b"[" + b" " * 2000 + b"]")
    assert "a list of at most 64 MiB" in refusal(server)


def test_a_proxy_is_not_asked_for_this_machine(
    server: Stub, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, files)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert read(address(server)).voxels.shape == (5, 6, 7)


def test_tls_certificates_are_verified(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([openssl, *made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with stub(lambda plain: context.wrap_socket(plain, server_side=True)) as server:
        serve(server, files)
        where = address(server).replace("dicomweb:", "dicomweb+https:")
        with pytest.raises(InputError, match=r"certificate can be verified .*REQUESTS_CA_BUNDLE"):
            read(where)
        assert server.asked == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert read(where).name == SERIES


def test_interrupted_it_leaves_nothing_behind(
    server: Stub, tmp_path: Path, temporary: Path
) -> None:
    large = np.arange(8 * 256 * 256, dtype=np.int16).reshape(8, 256, 256)
    reply = serve(server, write_dicom_series(tmp_path / "large", GRIDS["plain"], stored=large))
    reply.headers["Content-Length"] = str(len(reply.body) + 1)
    reply.then = lambda: time.sleep(3)
    reader = subprocess.Popen(
        [sys.executable, "-m", "promptseg.cli.main", "info", address(server)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 20
    while not (kept := list(temporary.rglob("*.dcm"))) and time.monotonic() < end:
        time.sleep(0.02)
    assert kept
    assert kept[0].parent.stat().st_mode & 0o777 == 0o700
    reader.send_signal(signal.SIGINT)
    assert reader.communicate(timeout=10)[1] == b"interrupted\n"
    assert reader.returncode == 130


# --- storing ----------------------------------------------------------------------------------------


def answer_to_stow(server: Stub, status: int, body: bytes) -> None:
    server.replies["POST /studies"] = Reply(status, {}, body)


def failed(reason: int) -> bytes:
    return b'{"00081198": {"Value": [{"00081197": {"Value": [%d]}}]}}' % reason


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (409, failed(0x0122), "0x0122, it does not store objects of this class"),
        (202, failed(0xA701), "0xA701, out of resources"),
        (200, failed(0xC123), "0xC123, it cannot understand the object"),
        (409, b"<html>", "HTTP 409 without a reason"),
        (202, b"{}", "HTTP 202 without a reason"),
        (401, b"", "HTTP 401"),
        (413, b"", "HTTP 413"),
        (302, b"", "a redirect"),
    ],
)
def test_a_result_that_was_not_stored_is_never_called_stored(
    status: int, body: bytes, said: str, server: Stub, files: list[Path]
) -> None:
    answer_to_stow(server, status, body)
    with pytest.raises(PromptsegError, match=said):
        store(files[0], Address.parse(server.address))


def test_warnings_of_the_server_are_passed_on(server: Stub, files: list[Path]) -> None:
    uid = pydicom.dcmread(files[0]).SOPInstanceUID
    item = {"00081155": {"Value": [uid]}, "00081196": {"Value": [0xB000]}}
    answer_to_stow(server, 202, json.dumps({"00081199": {"Value": [item]}}).encode())
    assert store(files[0], Address.parse(server.address)).warnings == (
        "0xB000, elements were changed",
    )
    answer_to_stow(server, 200, b"")  # a server of few words: 200 says that all is stored
    assert store(files[0], Address.parse(server.address)).instance == uid


def test_a_target_is_checked_before_the_work(server: Stub) -> None:
    with pytest.raises(OutputError, match="leave /series/"):
        check_store(Address.parse(address(server)))
    with pytest.raises(PromptsegError, match="HTTP 404"):
        check_store(Address.parse(server.address))
    server.replies["GET /studies"] = Reply(403)  # it may be asked to store, not to list
    check_store(Address.parse(server.address))
