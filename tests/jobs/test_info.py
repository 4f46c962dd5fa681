"""What `promptseg info` says of a path."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from formats.helpers import GRIDS, ORIGIN, random_voxels, write_dicom_series, write_nifti
from promptseg.errors import InputError, PromptsegError
from promptseg.formats.options import ReadOptions
from promptseg.jobs.info import Facts, gather

KEYS = [f.name for f in dataclasses.fields(Facts)]


def facts_of(path: Path | str, **choices: object) -> Facts:
    facts, _ = gather(Path(path), ReadOptions(**choices))  # type: ignore[arg-type]
    assert list(json.loads(json.dumps(dataclasses.asdict(facts), allow_nan=False))) == KEYS
    return facts


def test_a_volume_is_described_on_its_grid(tmp_path: Path) -> None:
    matrix = GRIDS["oblique left-handed"]
    facts = facts_of(write_nifti(tmp_path / "a.nii.gz", matrix))
    assert (facts.format, facts.kind, facts.colour) == ("nifti", "volume", False)
    assert facts.size_xyz == [7, 6, 5]
    assert facts.unit == "mm"
    assert facts.orthogonal is True
    spacing = np.linalg.norm(matrix, axis=0)
    assert facts.spacing_xyz == pytest.approx(spacing, abs=1e-4)
    assert facts.origin == pytest.approx(ORIGIN, abs=1e-3)
    assert np.ravel(facts.direction) == pytest.approx(np.ravel(matrix / spacing), abs=1e-4)
    axes = nib.aff2axcodes(nib.load(tmp_path / "a.nii.gz").affine)
    assert facts.orientation == "".join(axes)
    assert facts.dtype == "int16"
    values = random_voxels()
    assert facts.range == [values.min(), values.max()]
    assert facts.modality == "unknown"
    assert facts.modality_guess == "MR"
    assert facts.frames is None
    assert facts.identifying_fields is None
    assert facts_of(write_nifti(tmp_path / "b.nii", GRIDS["sheared"])).orthogonal is False


def test_a_colour_picture(tmp_path: Path) -> None:
    PilImage.fromarray(random_voxels((10, 20, 3), np.uint8)).save(tmp_path / "a.png")
    facts = facts_of(tmp_path / "a.png")
    assert (facts.kind, facts.colour, facts.size_xyz) == ("picture", True, [20, 10])
    assert (facts.unit, facts.orientation, facts.origin) == ("pixel", None, None)


def test_free_text_of_nifti_is_named_and_not_repeated(tmp_path: Path) -> None:
    image = nib.Nifti1Image(random_voxels().T, np.eye(4))
    image.header["descrip"] = b"Doe, Jane"
    image.header["aux_file"] = b"doe.txt"
    nib.save(image, tmp_path / "a.nii")
    facts = facts_of(tmp_path / "a.nii")
    assert facts.free_text == ["descrip", "aux_file"]
    assert "oe" not in json.dumps(dataclasses.asdict(facts) | {"path": ""})


def test_a_dicom_series_and_who_it_may_be(tmp_path: Path) -> None:
    write_dicom_series(
        tmp_path / "s", GRIDS["plain"], SeriesDescription="arterial", PatientName="Doe^Jane"
    )
    facts = facts_of(tmp_path / "s")
    assert (facts.format, facts.kind, facts.modality) == ("dicom", "volume", "CT")
    (series,) = facts.series
    assert (series["modality"], series["description"]) == ("CT", "arterial")
    assert (series["slices"], series["files"]) == (5, 5)
    assert facts.identifying_fields == ["SeriesDescription", "PatientName", "PatientID"]
    assert "Doe" not in json.dumps(dataclasses.asdict(facts))


def test_of_several_series_all_are_listed(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "a", GRIDS["plain"], uid="1.2.31", SeriesDescription="first")
    write_dicom_series(tmp_path / "b", GRIDS["plain"], uid="1.2.32", Modality="MR", seed=4)
    facts, shown = gather(tmp_path)
    assert shown is None
    assert (facts.kind, facts.size_xyz, facts.range) == (None, None, None)
    assert [(s["uid"], s["modality"], s["slices"]) for s in facts.series] == [
        ("1.2.31", "CT", 5),
        ("1.2.32", "MR", 5),
    ]
    assert facts.identifying_fields == ["SeriesDescription", "PatientID"]
    chosen = facts_of(tmp_path, series="32")
    assert (chosen.kind, chosen.modality) == ("volume", "MR")
    assert len(chosen.series) == 2


def test_of_several_time_points_the_first_is_shown(tmp_path: Path) -> None:
    for k in range(3):
        write_dicom_series(
            *(tmp_path / f"t{k}", GRIDS["plain"]),
            stored=random_voxels() + np.int16(k),
            uid="1.2.3",
            seed=k,
            TemporalPositionIdentifier=k + 1,
        )
    facts = facts_of(tmp_path)
    assert facts.frames is not None
    assert (facts.frames["count"], facts.frames["shown"]) == (3, 0)
    assert "differ by temporal position (1, 2, 3)" in facts.frames["what"]
    low = facts.range
    facts = facts_of(tmp_path, frame=2)
    assert facts.frames is not None
    assert facts.frames["shown"] == 2
    assert low is not None
    assert facts.range == [v + 2 for v in low]
    with pytest.raises(InputError, match="a frame below 3"):
        facts_of(tmp_path, frame=3)


def test_a_film_counts_its_pictures() -> None:
    facts = facts_of(str(get_testdata_file("examples_ybr_color.dcm")))
    assert (facts.kind, facts.colour, facts.modality) == ("video", True, "US")
    assert facts.frames == {"count": 30, "shown": None, "what": "30 frames in time"}


def made(path: Path, modality: str, **values: object) -> Path:
    """A SEG or RTSTRUCT of headers alone, in place of a slice."""
    (source, *others) = write_dicom_series(path.parent / "tmp", GRIDS["plain"])
    header = pydicom.dcmread(source)
    for other in (source, *others):
        other.unlink()
    header.Modality, header.SeriesDescription = modality, "drawn"
    for keyword in ("PixelData", *(["Rows", "Columns"] if modality == "RTSTRUCT" else [])):
        delattr(header, keyword)
    for keyword, value in values.items():
        setattr(header, keyword, value)
    header.save_as(path)
    return path


def item(**values: object) -> Dataset:
    out = Dataset()
    for keyword, value in values.items():
        setattr(out, keyword, Sequence(value) if isinstance(value, list) else value)
    return out


def test_a_seg_says_what_it_names_and_refers_to(tmp_path: Path) -> None:
    refers = item(SeriesInstanceUID="1.2.3", ReferencedInstanceSequence=[item(), item()])
    segments = [item(SegmentNumber=k, SegmentLabel=n) for k, n in enumerate(("liver", "node"), 1)]
    path = made(
        tmp_path / "seg.dcm",
        "SEG",
        NumberOfFrames=9,
        SegmentSequence=segments,
        ReferencedSeriesSequence=[refers],
    )
    facts = facts_of(path)
    assert (facts.kind, facts.modality, facts.series) == ("segmentation", "SEG", [])
    (said,) = facts.objects
    assert said["segments"] == [{"number": 1, "name": "liver"}, {"number": 2, "name": "node"}]
    assert said["references"] == [{"series": "1.2.3", "instances": 2}]
    assert said["size_xyz"] == [7, 6, 9]
    assert facts.identifying_fields == ["SeriesDescription", "PatientID"]


def test_an_rtstruct_beside_its_image(tmp_path: Path) -> None:
    series = item(SeriesInstanceUID="1.2.3", ContourImageSequence=[item()] * 5)
    frame = item(
        FrameOfReferenceUID="1.2.3.5",
        RTReferencedStudySequence=[item(RTReferencedSeriesSequence=[series])],
    )
    path = made(
        tmp_path / "rt.dcm",
        "RTSTRUCT",
        StructureSetROISequence=[item(ROINumber=4, ROIName="GTV")],
        ReferencedFrameOfReferenceSequence=[frame],
    )
    write_dicom_series(tmp_path / "s", GRIDS["plain"], uid="1.2.3")
    alone, both = facts_of(path), facts_of(tmp_path)
    assert alone.kind == "contours"
    assert both.kind == "volume"
    for facts in (alone, both):
        (said,) = facts.objects
        assert said["segments"] == [{"number": 4, "name": "GTV"}]
        assert said["references"] == [{"series": "1.2.3", "instances": 5}]
        assert said["frame_of_reference"] == "1.2.3.5"
        assert said["size_xyz"] is None


@pytest.mark.parametrize(
    "name", ["none.nii", "none.dcm", "empty.dcm", "text.dcm", "folder", "a\0b"]
)
def test_what_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.dcm").write_text("not DICOM" * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    with pytest.raises(PromptsegError):
        gather(tmp_path / name)
