"""An archive behind the server: a real Orthanc, read through us, with masks stored and found there."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

import promptseg
from dicomweb_servers import Orthanc, orthanc
from formats.helpers import GRIDS, write_dicom_series
from promptseg.errors import InputError, OutputError
from promptseg.formats import read
from promptseg.serve.archive import Archive
from promptseg.serve.desk import Desk
from promptseg.serve.limits import Limits
from promptseg.serve.options import ServeJob
from promptseg.serve.run import serve
from promptseg.serve.web.ohif import require_ohif
from serve.conftest import Client, Running, running
from serve.fake_server import OPTIONS, bright

pytest.importorskip("requests")
SERIES, STUDY = "1.2.826.0.1.3680043.8.498.77", "1.2.3.4"
CLICK = [14, 9, 2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    stored = np.full((5, 20, 30), 100, np.int16)
    stored[1:4, 5:12, 8:20] = 1900
    files = write_dicom_series(folder / "series", GRIDS["oblique"], stored=stored, uid=SERIES)
    with orthanc(folder) as found:
        found.upload(files)
        yield found


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "ohif"
    folder.mkdir()
    (folder / "index.html").write_text("<title>OHIF</title>")
    (folder / "app-config.js").write_text("window.config = {}")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def server(archive: Orthanc, pages: Path) -> Iterator[Running]:
    desk = Desk({"bright": bright()}, None, Limits(), OPTIONS)
    with running(desk, archive=Archive(archive.address), ohif=pages.resolve()) as found:
        yield found
    desk.stop()


def infer(server: Running, **query: str) -> bytes:
    said = "&".join(f"{k}={v}" for k, v in {"image": SERIES, "output": "image", **query}.items())
    params = {"label": "lesion", "foreground": [CLICK], "result_compress": False}
    answer = server.client.ask("POST", f"/infer/bright?{said}", json.dumps(params).encode())
    assert answer.status == 200, answer.body
    return answer.body


def test_viewers_read_the_archive_through_us(server: Running) -> None:
    studies = server.client.get("/proxy/dicom/qido/studies")
    assert studies.json[0]["0020000D"]["Value"] == [STUDY]
    path = f"/proxy/dicom/wado/studies/{STUDY}/series/{SERIES}"
    assert len(server.client.get(f"{path}/metadata").json) == 5
    listed = server.client.get(
        f"/proxy/dicom/qido/studies/{STUDY}/series?SeriesInstanceUID={SERIES}"
    )
    assert listed.json[0]["0020000E"]["Value"] == [SERIES]
    assert server.client.get(f"{path}x/metadata").status == 404, "the archive's own answer"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "wado/../instances",
            "wado/system",
            "wado/studies/../../system",
            "stow/studies",
            "x/studies",
        ),
        *("wado/patients", "qido/studies/%2e%2e/%2e%2e/system", "wado/studies//etc"),
    ],
)
def test_nothing_but_studies_is_asked_for(server: Running, path: str) -> None:
    assert server.client.get(f"/proxy/dicom/{path}").status == 404


def test_the_proxy_needs_the_token_and_passes_no_credentials_on(server: Running) -> None:
    for path in ("/proxy/dicom/qido/studies", "/ohif/index.html"):
        assert Client(server.client.port, {}).get(path).status == 401


def test_a_click_on_an_oblique_series_is_answered_on_its_own_grid(
    server: Running, archive: Orthanc, tmp_path: Path
) -> None:
    file = tmp_path / "mask.nrrd"
    file.write_bytes(infer(server))
    head = file.read_bytes().split(b"\n\n")[0]
    assert b"encoding: raw" in head, "OHIF's reader wants that"
    mask = SimpleITK.ReadImage(str(file))
    image = read(Path(archive.series(STUDY, SERIES)))
    assert np.allclose(mask.GetSpacing(), image.geometry.spacing)
    inside = SimpleITK.GetArrayFromImage(mask).astype(bool)
    assert inside.any()
    assert (image.voxels[inside] > 500).all()
    expected = bright().segment(image, _click(), options=OPTIONS).segments[0]
    assert np.array_equal(inside, expected.mask(image.geometry.shape))


def _click() -> Any:
    return promptseg.Points(((CLICK[0], CLICK[1]),), (1,), CLICK[2], "lesion")


def multipart(content: bytes) -> tuple[bytes, dict[str, str]]:
    head = b"--b1\r\nContent-Type: application/dicom\r\n\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b1'
    return head + content + b"\r\n--b1--\r\n", {"Content-Type": kind}


def test_a_mask_is_stored_and_found_in_the_archive(server: Running, archive: Orthanc) -> None:
    seg = infer(server, output="dicom_seg")
    body, headers = multipart(seg)
    answer = server.client.ask("POST", "/proxy/dicom/wado/studies", body, headers)
    assert answer.status == 200, answer.body
    uid = str(pydicom.dcmread(io.BytesIO(seg)).SOPInstanceUID)
    assert archive.file_of(uid)[:4096] == seg[:4096]


def test_a_mask_that_is_submitted_becomes_a_dicom_seg_there(
    server: Running, archive: Orthanc
) -> None:
    before = len(archive.instances())
    form = (
        b'--b1\r\nContent-Disposition: form-data; name="params"\r\n\r\n'
        b'{"label_info": [{"name": "lesion", "idx": 1}]}\r\n'
        b'--b1\r\nContent-Disposition: form-data; name="label"; filename="label.bin"\r\n\r\n'
    )
    body = form + infer(server) + b"\r\n--b1--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b1"}
    answer = server.client.ask("PUT", f"/datastore/label?image={SERIES}", body, kind)
    assert answer.status == 200, answer.body
    assert len(archive.instances()) == before + 1


@pytest.mark.parametrize("what", ["an image", "another series", "noise"])
def test_nothing_but_masks_of_what_is_open_here_is_stored(
    server: Running, archive: Orthanc, tmp_path: Path, what: str
) -> None:
    if what == "an image":
        infer(server)
        [content, *_] = [p.read_bytes() for p in write_dicom_series(tmp_path, GRIDS["oblique"])]
    elif what == "another series":  # a right mask of what is not open here
        content = _seg(tmp_path)
    else:
        content = b"DICM" * 100
    before = len(archive.instances())
    body, headers = multipart(content)
    answer = server.client.ask("POST", "/proxy/dicom/stow/studies", body, headers)
    assert answer.status == 404, answer.body
    assert len(archive.instances()) == before


def _seg(folder: Path) -> bytes:
    stored = np.full((5, 20, 30), 100, np.int16)
    stored[1:4, 5:12, 8:20] = 1900
    files = write_dicom_series(folder / "other", GRIDS["oblique"], stored=stored)
    image = read(files[0].parent)
    result = bright().segment(image, _click(), options=OPTIONS)
    result.save(folder / "other.dcm")
    return (folder / "other.dcm").read_bytes()


def test_an_archive_that_is_down_is_said(pages: Path) -> None:
    desk = Desk({"bright": bright()}, None, Limits(), OPTIONS)
    down = Archive("dicomweb://127.0.0.1:1/dicom-web")
    with running(desk, archive=down, ohif=pages) as found:
        for answer in (
            found.client.get("/proxy/dicom/qido/studies"),
            found.client.ask(
                "POST", f"/infer/bright?image={SERIES}", b'{"foreground": [[1, 2, 3]]}'
            ),
        ):
            assert answer.status == 502, answer.body
            assert "a DICOMweb server" in answer.json["detail"]
    desk.stop()


def test_the_pages_are_ohifs_files_and_nothing_else(server: Running, pages: Path) -> None:
    assert b"OHIF" in server.client.get("/ohif/").body
    assert server.client.get("/ohif/app-config.js").body == b"window.config = {}"
    assert b"OHIF" in server.client.get("/ohif/viewer?StudyInstanceUIDs=1").body, "its own address"
    for name in ("../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt"):
        assert b"secret" not in server.client.get(f"/ohif/{name}").body
    policy = server.client.get("/ohif/").headers["content-security-policy"]
    assert "http" not in policy, "nothing from elsewhere"


def test_what_cannot_be_an_archive_or_ohif_is_refused(tmp_path: Path) -> None:
    for address in ("http://x/y", "dicomweb://host/dicom-web/studies/1.2"):
        with pytest.raises((InputError, OutputError)):
            serve(ServeJob(root=tmp_path, port=0, archive=address))
    with pytest.raises(InputError, match=r"app-config\.js"):
        require_ohif(tmp_path)
