"""A series without UIDs gets some, and then objects can refer to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from fakes import BrightPredictor
from formats.helpers import GRIDS, edit_dicom, random_voxels, write_dicom_series
from promptseg import read
from promptseg.errors import InputError, OutputError
from promptseg.formats.dicom.uids import copy_with_uids
from promptseg.prompts import Box
from promptseg.segment.segmenter import Segmenter

TAKEN = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Slices as they are published after somebody has emptied their UIDs."""
    stored = random_voxels()
    stored[1:4, 1:5, 1:5] = 1124  # 100 HU, bright in the window of soft tissue
    for path in write_dicom_series(tmp_path / "bare", GRIDS["plain"], stored=stored):
        edit_dicom(path, **dict.fromkeys(TAKEN, ""))
    return tmp_path / "bare"


@pytest.mark.parametrize("ending", ["seg.dcm", "contours.rtstruct.dcm"])
def test_objects_can_refer_to_the_copy(series: Path, ending: str, tmp_path: Path) -> None:
    segmenter = Segmenter(BrightPredictor())
    box = Box((1, 1, 4, 4), 2, "block")
    with pytest.raises(OutputError, match="without StudyInstanceUID"):
        segmenter.segment(read(series), box, propagate="none").save(tmp_path / f"bare_{ending}")
    copies = copy_with_uids(series, tmp_path / "ct")
    result = segmenter.segment(read(tmp_path / "ct"), box, propagate="none")
    result.save(tmp_path / ending)
    made = pydicom.dcmread(tmp_path / ending)
    header = pydicom.dcmread(copies[0])
    assert made.StudyInstanceUID == header.StudyInstanceUID
    assert made.FrameOfReferenceUID == header.FrameOfReferenceUID == "1.2.3.5"  # which was there


def test_voxels_and_grid_are_those_of_the_original(series: Path, tmp_path: Path) -> None:
    copies = copy_with_uids(series, tmp_path / "ct")
    original, copy = read(series), read(tmp_path / "ct")
    assert np.array_equal(original.voxels, copy.voxels)
    assert original.geometry.agrees_with(copy.geometry)
    headers = [pydicom.dcmread(path) for path in copies]
    assert len({h.SOPInstanceUID for h in headers}) == len(headers)
    assert all(h.file_meta.MediaStorageSOPInstanceUID == h.SOPInstanceUID for h in headers)
    assert len({(h.StudyInstanceUID, h.SeriesInstanceUID) for h in headers}) == 1
    assert all(h[name].value for h in headers for name in TAKEN)
    assert "made up" in headers[0].ImageComments
    again = copy_with_uids(series, tmp_path / "ct")
    assert [pydicom.dcmread(path).SOPInstanceUID for path in again] == [
        h.SOPInstanceUID for h in headers
    ]


def test_other_files_are_left_alone(series: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.txt"):
        copy_with_uids(series, folder)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]
    (series / "notes.txt").write_text("no DICOM")
    with pytest.raises(InputError, match=r"notes\.txt"):
        copy_with_uids(series, tmp_path / "other")
    assert not (tmp_path / "other").exists()
