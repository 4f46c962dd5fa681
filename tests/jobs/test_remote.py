"""`promptseg segment` from a DICOMweb server, and onto it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from dicomweb_servers import Orthanc, orthanc
from fakes import BrightPredictor, ball
from formats.helpers import GRIDS, write_dicom_series
from promptseg.cli.main import main
from promptseg.formats import FORMATS
from promptseg.image import Segmentation
from promptseg.segment.segmenter import Segmenter

pytestmark = pytest.mark.peer

STUDY, SERIES = "1.2.826.0.1.1", "1.2.826.0.1.1.7"
BOX = "--box=11,11,21,21@2=ball"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc with a user, a password and one CT of a bright ball."""
    folder = tmp_path_factory.mktemp("orthanc")
    stored = np.where(ball((5, 32, 32), (2, 16, 16), 5), 1200, 900).astype(np.int16)
    stored[0, 0, :2] = 0, 1224
    files = write_dicom_series(
        folder / "series", GRIDS["oblique"], stored=stored, uid=SERIES, StudyInstanceUID=STUDY
    )
    with orthanc(folder, ("radiology", "hunter2")) as running:
        running.upload(files)
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials, a model without weights, and a folder to stay in."""
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_USER", "radiology")
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_PASSWORD", "hunter2")
    monkeypatch.delenv("PROMPTSEG_DICOMWEB_TOKEN", raising=False)
    monkeypatch.setattr(
        "promptseg.jobs.segment.load_for", lambda _: Segmenter(BrightPredictor(200))
    )
    monkeypatch.chdir(tmp_path)


def segment(*arguments: object) -> int:
    return main(["segment", *map(str, arguments), "--window=400/0", "--quiet"])


def test_from_the_server_into_a_file(server: Orthanc, tmp_path: Path) -> None:
    where = server.series(STUDY, SERIES)
    assert segment("-i", where, "-o", "mask.nii.gz", BOX) == 0
    mask = np.asarray(nib.load("mask.nii.gz").dataobj).T
    assert (mask[2] == ball((5, 32, 32), (2, 16, 16), 5)[2]).all()
    said = Path("mask.nii.gz.json").read_text()
    facts = json.loads(said)
    assert facts["input"]["path"] == where
    assert facts["command"]["input"] == where
    assert "hunter2" not in said
    assert "radiology" not in said
    assert segment("--config", "mask.nii.gz.json", "-o", tmp_path / "again.nii.gz") == 0
    np.testing.assert_array_equal(np.asarray(nib.load("again.nii.gz").dataobj).T, mask)


def test_onto_the_server(
    server: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not next(f for f in FORMATS if f.name == "dicom").writes:
        pytest.skip("this version writes no DICOM SEG")
    before = {one["SOPInstanceUID"] for one in server.instances()}
    arguments = ["-i", server.series(STUDY, SERIES), "-o", server.address, BOX, "--json"]
    assert segment(*arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    (new,) = {one["SOPInstanceUID"] for one in server.instances()} - before
    assert facts["instance"] == new
    assert facts["output"].startswith(server.series(STUDY, ""))
    assert facts["command"]["output"] == server.address
    assert list(tmp_path.iterdir()) == []
    Path("new.dcm").write_bytes(server.file_of(new))
    header = pydicom.dcmread("new.dcm")
    assert header.Modality == "SEG"
    assert header.StudyInstanceUID == STUDY
    assert header.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES


def test_a_result_is_sent_as_a_dicom_file_and_leaves_nothing_here(
    server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As above, with a writer of DICOM SEG that takes a file made before."""
    result = tmp_path / "made" / "result.dcm"
    series = write_dicom_series(tmp_path / "made", GRIDS["plain"], StudyInstanceUID=STUDY)
    series[0].rename(result)
    made = pydicom.dcmread(result)

    def save(_: Segmentation, path: Path, overlap: str = "keep") -> Path:
        assert path.suffix == ".dcm"
        assert path.parent.stat().st_mode & 0o777 == 0o700
        return Path(shutil.copy(result, path))

    monkeypatch.setattr("promptseg.jobs.remote.save", save)
    monkeypatch.setattr("promptseg.jobs.segment.format_for_output", lambda *_: None)
    target = f"{server.address}/studies/{STUDY}"
    assert main(["segment", "-i", server.series(STUDY, SERIES), "-o", target, BOX]) == 0
    series_address = server.series(STUDY, made.SeriesInstanceUID)
    assert f"mask        {series_address}\n" in capsys.readouterr().out
    assert made.SOPInstanceUID in [one["SOPInstanceUID"] for one in server.instances()]
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_targets_are_refused_before_the_work(
    server: Orthanc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_work(_: object) -> Segmenter:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("promptseg.jobs.segment.load_for", no_work)
    where = server.series(STUDY, SERIES)
    assert segment("-i", where, "-o", where, BOX) == 2
    assert "leave /series/... out" in capsys.readouterr().err
    assert segment("-i", where, "-o", server.address + "/elsewhere", BOX) == 2
    assert "HTTP 404" in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(np.eye(4), np.eye(4)), tmp_path / "images" / "a.nii")
    assert segment("-i", tmp_path / "images", "-o", server.address, BOX) == 2
    assert "store them one by one" in capsys.readouterr().err
    monkeypatch.setenv("PROMPTSEG_DICOMWEB_PASSWORD", "wrong")
    assert segment("-i", tmp_path / "images" / "a.nii", "-o", server.address, BOX) == 2
    assert "HTTP 401, these credentials" in capsys.readouterr().err
