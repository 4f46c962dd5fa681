"""Folders of images as they come: DICOM exports, what is in the way, and the table of sizes."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage

from fakes import BrightPredictor
from formats.helpers import GRIDS, write_dicom_series
from promptseg import Segmenter
from promptseg.cli.main import main
from promptseg.errors import OutputError
from promptseg.formats.files import read_provenance_beside
from promptseg.formats.masks import read_masks
from promptseg.image import Image
from promptseg.jobs import batch, image_task
from promptseg.jobs.batch import find_images, segment_folder
from promptseg.segment.options import SegmentJob


@pytest.fixture(autouse=True)
def _bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_task, "load_for", lambda _: Segmenter(BrightPredictor()))


def bright_series(folder: Path) -> Path:
    stored = np.full((4, 20, 30), 100, np.int16)
    stored[:, 5:12, 8:20] = 1900
    write_dicom_series(folder, GRIDS["oblique"], stored=stored)
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """PATIENT/STUDY/SERIES with a DICOMDIR above, as a PACS or a disc gives it."""
    root = tmp_path / "export"
    for name in ("P1/S1/0001", "P1/S1/0002", "P1/S2/0001", "P2/S1/0001"):
        bright_series(root / name)
    first = next((root / "P1" / "S1" / "0001").iterdir())
    shutil.copy(first, root / "DICOMDIR")  # a DICOM file that is no image of its own
    (root / "P1" / "report.txt").write_text("nothing to see")
    return root


def job(source: Path, out: Path, **options: Any) -> SegmentJob:
    return SegmentJob(
        input=source, output=out, box=("8,5,19,11@1",), quiet=True, overlay=False, **options
    )


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "measurements.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_dicom_export_is_taken_as_it_comes_and_resumed(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = segment_folder(job(export, out))
    assert (found.images, found.failures) == (4, [])
    masks = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.nii.gz"))
    names = ["P1/S1/0001", "P1/S1/0002", "P1/S2/0001", "P2/S1/0001"]
    assert masks == [f"{name}.nii.gz" for name in names]
    assert [row["image"] for row in rows(out)] == names
    for path in (out / "P1" / "S2").iterdir():
        path.unlink()
    again = segment_folder(job(export, out))
    assert (again.skipped, len(again.provenance)) == (3, 1)
    assert len(rows(out)) == 4


def test_a_series_that_is_exported_anew_under_the_same_names(export: Path, tmp_path: Path) -> None:
    out, series = tmp_path / "out", export / "P1" / "S2" / "0001"
    segment_folder(job(export, out))
    before = [int(row["voxels"]) for row in rows(out)]
    for path in series.iterdir():
        slice_ = pydicom.dcmread(path)
        pixels = slice_.pixel_array.copy()
        pixels[5:12, 8:11] = 100  # a part of what was bright
        slice_.PixelData = pixels.tobytes()
        slice_.save_as(path)
    again = segment_folder(job(export, out))
    assert again.skipped == 3
    ((name, error),) = again.failures
    assert name == "P1/S2/0001"
    assert "--overwrite" in str(error)
    segment_folder(job(export, out, overwrite=True))
    after = [int(row["voxels"]) for row in rows(out)]
    assert after[2] < before[2]
    assert after[:2] + after[3:] == before[:2] + before[3:]


@pytest.mark.parametrize("output", ["results/a.nii.gz", "a.nii.gz"])
def test_a_result_in_the_folder_of_its_series_is_no_part_of_it(output: str, tmp_path: Path) -> None:
    series = bright_series(tmp_path / "series")
    task = image_task.ImageTask(job(series, series / output), [])
    before = task.request()
    for name in ("a.nii.gz", "a.nii.gz.json", "measurements.csv")[: None if "/" in output else 2]:
        (series / output).with_name(name).parent.mkdir(exist_ok=True)
        (series / output).with_name(name).write_text("ours")
    assert task.request() == before
    (series / "further.dcm").write_text("a slice")
    assert task.request() != before


def test_results_inside_the_input_are_no_images(export: Path) -> None:
    out = export / "results"
    assert segment_folder(job(export, out, suffix=".dcm")).images == 4
    assert all(pydicom.dcmread(p).Modality == "SEG" for p in out.rglob("*.dcm"))
    assert segment_folder(job(export, out, suffix=".dcm")).skipped == 4


def test_folders_that_lead_back_come_to_an_end(export: Path) -> None:
    (export / "P2" / "loop").symlink_to(export, target_is_directory=True)
    names = [p.relative_to(export).as_posix() for p in find_images(export)]
    assert "P2/S1/0001" in names
    assert len(names) < 20


def test_a_series_that_fails_is_named_by_its_path(export: Path, tmp_path: Path) -> None:
    for path in (export / "P1" / "S2" / "0001").iterdir():
        path.write_bytes(path.read_bytes()[:400])
    found = segment_folder(job(export, tmp_path / "out"))
    assert [name for name, _ in found.failures] == ["P1/S2/0001"]
    assert len(rows(tmp_path / "out")) == 3


def test_sizes_are_those_of_the_masks(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment_folder(job(export, out))
    spacing = np.linalg.norm(GRIDS["oblique"], axis=0)
    for row in rows(out):
        mask = read_masks(out / row["mask"])
        (segment,) = mask.segments
        voxels = int(segment.crop.sum())
        assert int(row["voxels"]) == voxels > 0
        assert float(row["volume_ml"]) == pytest.approx(voxels * spacing.prod() / 1000, rel=1e-3)
        assert row["area_px"] == ""
        assert row["low_confidence"] in ("true", "false")


def test_names_are_no_formulas(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    pixels = np.zeros((30, 30), np.uint8)
    pixels[5:12, 8:20] = 250
    PilImage.fromarray(pixels).save(source / "=1+1.png")
    segment_folder(
        SegmentJob(
            input=source,
            output=tmp_path / "out",
            box=("8,5,19,11==cmd()",),
            quiet=True,
            overlay=False,
        )
    )
    (row,) = rows(tmp_path / "out")
    assert row["image"] == "'=1+1.png"
    assert row["object"] == "'=cmd()"


def pictures(folder: Path, count: int) -> Path:
    """2D images with a bright part; the first is as no other."""
    folder.mkdir()
    for k in range(count):
        pixels = np.zeros((30, 30), np.uint8)
        pixels[5:12, 8:20] = 250 - (k > 0)
        PilImage.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def flat(source: Path, out: Path, **options: Any) -> SegmentJob:
    return dataclasses.replace(job(source, out, **options), box=("8,5,19,11",))


def test_shares_beyond_the_images_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = pictures(tmp_path / "in", 3), tmp_path / "out"
    for number in range(1, 6):
        found = segment_folder(flat(source, out, shard=f"{number}/5"))
        assert (found.images, found.failures) == (int(number <= 3), [])
    assert sorted(path.name for path in out.glob("*.png")) == ["0.png", "1.png", "2.png"]
    words = ["segment", "-i", str(source), "-o", str(out), "--box", "8,5,19,11", "--no-overlay"]
    assert main([*words, "--shard", "4/5"]) == 0
    assert "0 images, 0 done already" in capsys.readouterr().out
    assert main([*words, "--shard", "4/5", "--model", "auto"]) == 0


def test_auto_chooses_one_model_for_all_shares_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = pictures(tmp_path / "in", 4), tmp_path / "out"

    def settled(asked: SegmentJob, prompts: Any, image: Image | None) -> tuple[SegmentJob, None]:
        """Another model for another image, or for prompts of fewer."""
        assert image is not None
        first = image.voxels.max() == 250 and len(list(prompts)) == 4
        return dataclasses.replace(asked, model="lite-medsam" if first else "mobile-sam"), None

    monkeypatch.setattr(batch, "settle_model", settled)
    for number in (1, 2, 3, 4):
        segment_folder(flat(source, out, model="auto", shard=f"{number}/4"))
    chosen = [read_provenance_beside(path)["request"]["model"] for path in out.glob("*.png")]
    assert chosen == ["lite-medsam"] * 4


def test_a_table_of_somebody_else_is_not_replaced(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "measurements.csv").write_text("patient,volume\n1,2\n")
    with pytest.raises(OutputError, match=r"measurements\.csv of others"):
        segment_folder(job(export, out, overwrite=True))
    assert [p.name for p in out.iterdir()] == ["measurements.csv"]
    assert (out / "measurements.csv").read_text() == "patient,volume\n1,2\n"
