"""`promptseg embed`, and `segment --embeddings` after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as PilImage

from fakes import BrightPredictor, ball
from promptseg.cli.main import main
from promptseg.inference.predictor import Predictor


def write_scan(path: Path, slices: int = 6) -> None:
    """A ball in noise: no two slices are equal."""
    values = np.random.default_rng(slices).integers(-100, 0, (slices, 48, 48)).astype(np.int16)
    values[ball(values.shape, (slices // 2, 24, 24), 12)] += 200
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 3.0, 1.0])), path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> BrightPredictor:
    """What every verb loads instead of a real model."""
    predictor = BrightPredictor()
    monkeypatch.setattr(Predictor, "load", lambda *_: predictor)
    return predictor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scans and a 2D image."""
    images = tmp_path / "images"
    write_scan(images / "a.nii.gz", 6)
    write_scan(images / "b.nii.gz", 4)
    picture = np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
    PilImage.fromarray(picture).save(images / "c.png")
    return images


def embed(*arguments: Any) -> int:
    return main(["embed", *map(str, arguments)])


def segment(source: Path, out: Path, *arguments: Any) -> dict[str, Any]:
    """Segment, and return the timings."""
    command = ["segment", "-i", source, "-o", out, "--no-overlay", *arguments]
    assert main(list(map(str, command))) == 0
    timings: dict[str, Any] = json.loads(out.with_name("mask.nii.gz.json").read_text())["timings"]
    return timings


def test_a_folder_is_embedded_and_resumed(
    fake: BrightPredictor, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "embeddings"
    assert embed("-i", folder, "-o", out) == 0
    said = capsys.readouterr().out
    assert said == "images: 3 done, 0 failed\nslices: 11 encoded, 0 there already\n"
    assert len(fake.encoded) == len(list(out.iterdir())) == 11
    for path in sorted(out.iterdir())[:3]:
        path.unlink()  # as if cut off before
    assert embed("-i", folder, "-o", out) == 0
    assert "slices: 3 encoded, 8 there already" in capsys.readouterr().out
    assert len(fake.encoded) == 14
    assert embed("-i", folder / "a.nii.gz", "-o", out, "--quiet") == 0
    assert len(fake.encoded) == 14
    assert capsys.readouterr().out == ""


def test_slices_axis_and_window_are_those_of_segment(
    fake: BrightPredictor, folder: Path, tmp_path: Path
) -> None:
    source, out = folder / "a.nii.gz", tmp_path / "embeddings"
    options = ["--window", "lung", "--axis", "y", "--slices", "20:28", "--batch", "4"]
    assert embed("-i", source, "-o", out, *options) == 0
    assert len(list(out.iterdir())) == 9
    assert fake.batches == [4, 4, 1]
    box = ["--box", "12,1,36,5@24", "--embeddings", out]
    timings = segment(source, tmp_path / "mask.nii.gz", *options, *box)
    assert timings["slices_encoded"] == 0
    assert timings["cache_hits"] > 0


def test_a_segmentation_keeps_what_it_encodes(
    fake: BrightPredictor, folder: Path, tmp_path: Path
) -> None:
    source, out = folder / "a.nii.gz", tmp_path / "mask.nii.gz"
    options = ["--box", "12,12,36,36@3", "--embeddings", tmp_path / "embeddings", "--overwrite"]
    first = segment(source, out, *options)
    mask = np.asarray(nib.load(out).dataobj)
    assert first["slices_encoded"] > 0
    assert segment(source, out, *options)["slices_encoded"] == 0
    np.testing.assert_array_equal(np.asarray(nib.load(out).dataobj), mask)
    command = json.loads((tmp_path / "mask.nii.gz.json").read_text())["command"]
    assert "embeddings" not in command  # a run that is done again elsewhere has no such folder


def test_a_bad_image_does_not_stop_the_others(
    fake: BrightPredictor, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.nii.gz").write_text("not an image")
    assert embed("-i", folder, "-o", tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert "error: b.nii.gz: expected a readable nifti image" in printed.err
    assert "images: 2 done, 1 failed" in printed.out
    assert len(list((tmp_path / "out").iterdir())) == 7
    assert embed("-i", folder, "-o", tmp_path / "out", "--slices", "2:3") == 2
    assert "error: c.png: expected slices within 0:0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "images", "-o", "file"], "a folder for embeddings"),
        (["-i", "images", "-o", "file/below"], "a folder that can be written"),
        (["-i", "images", "-o", "images"], "other than the input folder"),
        (
            ["-i", "images", "-o", "out", "--embeddings-limit", "0"],
            "--embeddings-limit from above 0",
        ),
        (
            ["-i", "images", "-o", "out", "--embeddings-limit", "nan"],
            "--embeddings-limit from above 0",
        ),
        (["-i", "images", "-o", "out", "--batch", "0"], "batch to be a number above 0"),
        (["-i", "images", "-o", "out", "--slices", "5"], "slices FIRST:LAST"),
        (["-i", "none.png", "-o", "out"], "no such file"),
        (["-i", "images"], "the options of promptseg embed"),
    ],
)
def test_bad_requests_are_one_error_and_write_nothing(
    fake: BrightPredictor,
    folder: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert embed(*arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("error:") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_limit_that_is_too_low_ends_the_run(
    fake: BrightPredictor, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ["--embeddings-limit", str(12_000 / 2**30)]
    assert embed("-i", folder, "-o", tmp_path / "out", *limit) == 2
    assert "raise --embeddings-limit" in capsys.readouterr().err


@pytest.mark.weights
def test_the_real_model_gives_the_same_mask_bit_for_bit(
    lite_medsam: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "load", lambda *_: lite_medsam)
    source = tmp_path / "scan" / "scan.nii.gz"
    write_scan(source, 2)
    options = ["--box", "11,11,37,37@1=ball", "--min-iou", "0"]
    fresh = segment(source, tmp_path / "fresh" / "mask.nii.gz", *options)
    assert embed("-i", source, "-o", tmp_path / "kept") == 0
    options += ["--embeddings", tmp_path / "kept"]
    recalled = segment(source, tmp_path / "recalled" / "mask.nii.gz", *options)
    assert fresh["slices_encoded"] > 0
    assert (recalled["slices_encoded"], recalled["cache_hits"]) == (0, fresh["slices_encoded"])
    masks = [nib.load(tmp_path / run / "mask.nii.gz") for run in ("fresh", "recalled")]
    np.testing.assert_array_equal(*(np.asarray(m.dataobj) for m in masks))
    facts = [
        json.loads((tmp_path / run / "mask.nii.gz.json").read_text())
        for run in ("fresh", "recalled")
    ]
    assert facts[0]["objects"] == facts[1]["objects"]


def test_a_replay_encodes_afresh(
    fake: BrightPredictor, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out, kept = folder / "a.nii.gz", tmp_path / "mask.nii.gz", tmp_path / "embeddings"
    first = segment(source, out, "--box", "12,12,36,36@3", "--embeddings", kept)
    again = tmp_path / "again.nii.gz"
    replay = [
        "segment",
        "--replay",
        tmp_path / "mask.nii.gz.json",
        "-o",
        again,
        "--embeddings",
        kept,
    ]
    assert main(list(map(str, replay))) == 0
    said = capsys.readouterr()
    assert "a replay encodes every slice afresh: --embeddings is not used" in said.err
    assert "replay      the same masks, bit for bit" in said.out
    timings = json.loads((tmp_path / "again.nii.gz.json").read_text())["timings"]
    assert timings["slices_encoded"] == first["slices_encoded"]
    assert timings["cache_hits"] == 0
