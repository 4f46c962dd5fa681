"""DICOMweb against a real Orthanc: series come back as they were, results are found again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGLSLossless, generate_uid

from dicomweb_servers import Orthanc, orthanc
from formats.helpers import GRIDS, random_voxels, write_dicom_series
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.formats import read
from promptseg.formats.dicomweb import Address, check_store, series_at, store

pytestmark = pytest.mark.peer

USER, PASSWORD = "radiology", "pässword: 1"
STUDY, SERIES = "1.2.826.0.1.1", "1.2.826.0.1.1.7"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One that wants a user and a password."""
    with orthanc(tmp_path_factory.mktemp("locked"), (USER, PASSWORD)) as server:
        yield server


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


@pytest.fixture
def server(running: Orthanc) -> Orthanc:
    running.clear()
    return running


def write(folder: Path, series: str = SERIES, name: str = "oblique", **tags: str) -> list[Path]:
    """A series of the study on one of the grids; the voxels depend on the series."""
    stored = random_voxels() + np.int16(len(series))
    tags = {"StudyInstanceUID": STUDY, **tags}
    return write_dicom_series(folder, GRIDS[name], stored=stored, uid=series, **tags)


@pytest.mark.parametrize("name", ["plain", "oblique left-handed", "sheared"])
def test_a_series_from_the_server_is_that_of_the_folder(
    name: str, server: Orthanc, tmp_path: Path
) -> None:
    server.upload(write(tmp_path / "series", name=name))
    here, there = read(tmp_path / "series"), read(server.series(STUDY, SERIES))
    np.testing.assert_array_equal(there.voxels, here.voxels)
    assert there.voxels.dtype == here.voxels.dtype
    assert there.geometry.agrees_with(here.geometry)
    np.testing.assert_array_equal(there.geometry.matrix, here.geometry.matrix)
    assert there.modality == "CT"
    assert there.source.format == "dicom"
    assert there.name == SERIES
    assert [i.header.SOPInstanceUID for i in there.source.header.slices] == [
        i.header.SOPInstanceUID for i in here.source.header.slices
    ]


def test_a_path_has_lost_a_slash_and_is_still_an_address(server: Orthanc, tmp_path: Path) -> None:
    server.upload(write(tmp_path / "series"))
    assert read(Path(server.series(STUDY, SERIES))).voxels.shape == (5, 6, 7)


def test_instances_come_in_the_transfer_syntax_they_are_stored_in(server: Orthanc) -> None:
    path = Path(str(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")))
    header = pydicom.dcmread(path)
    server.upload([path])
    image = read(server.series(header.StudyInstanceUID, header.SeriesInstanceUID))
    came = image.source.header.slices[0].header
    assert came.file_meta.TransferSyntaxUID == JPEGLSLossless
    np.testing.assert_array_equal(image.voxels, read(path).voxels)


def test_a_study_with_one_series_of_images_is_enough(server: Orthanc, tmp_path: Path) -> None:
    server.upload(write(tmp_path / "a"))
    server.upload(write(tmp_path / "b", SERIES + ".2", Modality="SR"))
    image = read(f"{server.address}/studies/{STUDY}")
    assert image.name == SERIES
    assert "chosen out of 2" in image.source.notes[-1]


def test_several_series_are_listed_and_one_is_chosen_by_its_ending(
    server: Orthanc, tmp_path: Path
) -> None:
    server.upload(write(tmp_path / "a", SeriesDescription="arterial"))
    server.upload(write(tmp_path / "b", SERIES + ".28", SeriesDescription="venous"))
    study = f"{server.address}/studies/{STUDY}"
    with pytest.raises(InputError) as caught:
        read(study)
    said = str(caught.value)
    assert said.startswith(f"expected one DICOM series, got 2 of 2 at {study}")
    assert f"{SERIES}: CT, 5 instances, arterial" in said
    assert "choose one with --series UID" in said
    np.testing.assert_array_equal(read(study, series=".28").voxels, read(tmp_path / "b").voxels)
    with pytest.raises(InputError, match=r"one series ending in \.9, got none of 2"):
        read(study, series=".9")
    listed = {s.uid: s for s in series_at(Address.parse(study))}
    assert listed[SERIES].count == 5
    assert listed[SERIES].description == "arterial"


def test_what_is_not_there_is_one_error(server: Orthanc) -> None:
    with pytest.raises(InputError, match="a study on the server, got none such"):
        read(f"{server.address}/studies/1.2.3")
    with pytest.raises(InputError, match="a series on the server, got none such"):
        read(server.series("1.2.3", "4.5"))
    with pytest.raises(PromptsegError, match=r"HTTP 404.*check the path: Orthanc's is /dicom-web"):
        read(f"dicomweb://127.0.0.1:{server.port}/nowhere/studies/1.2.3")


def test_errors_of_the_reader_name_the_address(server: Orthanc, tmp_path: Path) -> None:
    server.upload(write(tmp_path / "a", Modality="SR"))
    with pytest.raises(PromptsegError) as caught:
        read(server.series(STUDY, SERIES))
    assert server.series(STUDY, SERIES) in str(caught.value)


def test_basic_authentication(
    locked: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked.upload(write(tmp_path / "series"))
    where = locked.series(STUDY, SERIES)
    with pytest.raises(
        PromptsegError, match=r"HTTP 401, no credentials; correct what is in PROMPT"
    ):
        read(where)
    with pytest.raises(PromptsegError, match="HTTP 401"):
        check_store(Address.parse(locked.address))
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_USER", USER)
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_PASSWORD", "a wrong one")
    with pytest.raises(PromptsegError, match="HTTP 401, these credentials") as caught:
        read(where)
    assert "a wrong one" not in str(caught.value)
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_PASSWORD", PASSWORD)
    image = read(where)
    np.testing.assert_array_equal(image.voxels, read(tmp_path / "series").voxels)
    check_store(Address.parse(locked.address))


def test_what_is_stored_is_found_by_qido_byte_for_byte(server: Orthanc, tmp_path: Path) -> None:
    (path,) = write(tmp_path / "a", Modality="SEG")[:1]
    header = pydicom.dcmread(path)
    stored = store(path, Address.parse(server.address))
    assert stored.instance == header.SOPInstanceUID
    assert stored.warnings == ()
    assert stored.address == server.series(STUDY, SERIES)
    (found,) = series_at(Address.parse(stored.address))
    assert (found.uid, found.modality, found.count) == (SERIES, "SEG", 1)
    assert server.file_of(stored.instance) == path.read_bytes()


def test_a_study_as_target_has_to_be_the_images_own(server: Orthanc, tmp_path: Path) -> None:
    (path,) = write(tmp_path / "a")[:1]
    with pytest.raises(OutputError, match="the study that the image belongs to"):
        store(path, Address.parse(f"{server.address}/studies/1.2.3"))
    assert server.instances() == []
    store(path, Address.parse(f"{server.address}/studies/{STUDY}"))
    assert len(server.instances()) == 1


def test_an_object_that_the_server_refuses_is_one_error(server: Orthanc, tmp_path: Path) -> None:
    path = tmp_path / "none.dcm"
    dataset = pydicom.dcmread(write(tmp_path / "a")[0])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.save_as(path)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:200])  # its header is cut
    with pytest.raises(PromptsegError):
        store(path, Address.parse(server.address))
    assert server.instances() == []
