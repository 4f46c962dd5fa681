"""Masks, markers, corrections, millimetres and replays on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from promptseg.cli.main import main


def run(*arguments: Any) -> int:
    return main(["segment", *map(str, arguments)])


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A CT of a bright cylinder in noise, 12 slices."""
    y, x = np.indices((64, 64))
    inside = (x - 30) ** 2 + (y - 32) ** 2 < 15**2
    noise = np.random.default_rng(0).normal(0, 8, (12, 64, 64))
    values = np.where(inside, 120, -60) + noise
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(values.astype(np.int16).T, np.diag([1, 1, 2, 1])), path)
    return path


@pytest.mark.slow
@pytest.mark.weights
def test_markers_drawn_or_listed_give_the_same_masks(scan: Path, tmp_path: Path) -> None:
    listed = tmp_path / "markers.json"
    lines = {"long": [[15, 32], [45, 32]], "short": [[30, 17], [30, 47]]}
    markers = [{"slice": k, **lines} for k in (2, 5, 6)]
    listed.write_text(json.dumps({"objects": [{"name": "label 1", "markers": markers}]}))
    drawn = np.zeros((12, 64, 64), np.uint8)
    for k in (2, 5, 6):
        drawn[k, 32, 15:46] = 1
        drawn[k, 17:48, 30] = 1
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(drawn.T, image.affine), tmp_path / "drawn.nii.gz")
    for name in ("markers.json", "drawn.nii.gz"):
        out = tmp_path / name.replace(".", "_") / "mask.nii.gz"
        assert run("-i", scan, "-o", out, "--markers", tmp_path / name) == 0
    masks = [
        np.asarray(nib.load(tmp_path / n / "mask.nii.gz").dataobj).T
        for n in ("markers_json", "drawn_nii_gz")
    ]
    np.testing.assert_array_equal(*masks)
    assert list(np.flatnonzero(masks[0].any((1, 2)))) == list(range(2, 7))


@pytest.mark.weights
def test_a_segmentation_is_corrected_and_the_correction_replayed(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (tmp_path / f"{n}.nii.gz" for n in ("first", "second", "third"))
    box = "14,16,46,48@5=tube"
    assert run("-i", scan, "-o", first, "--box", box, "--slices", "3:7") == 0
    fix = ("--box", "20,22,40,42@6=tube", "--propagate", "none", "--no-overlay")
    assert run("-i", scan, "-o", second, "--correct", first, *fix) == 0
    told = capsys.readouterr()
    assert re.search(r"corrected   tube: slice 6 changed, \d+\.\d\d -> \d+\.\d\d ml", told.out)
    assert "made this mask" not in told.err
    before, after = (np.asarray(nib.load(p).dataobj).T for p in (first, second))
    assert list(np.flatnonzero((before != after).any((1, 2)))) == [6]
    capsys.readouterr()
    assert run("--replay", tmp_path / "second.nii.gz.json", "-o", third) == 0
    assert "replay      the same masks, bit for bit" in capsys.readouterr().out
    np.testing.assert_array_equal(np.asarray(nib.load(third).dataobj).T, after)
    click = (
        "--point",
        "30,32,+@6",
        "--model",
        "promptseg-lite",
        "--no-overlay",
        "--engine",
        "eager",
    )
    clicked = tmp_path / "clicked.nii.gz"
    assert run("-i", scan, "-o", clicked, "--correct", first, *click, "--propagate", "none") == 0
    said = "lite-medsam made this mask and promptseg-lite corrects it"
    assert said in capsys.readouterr().err
    unknown = ("--box", "20,22,40,42@6=tuba")
    assert run("-i", scan, "-o", tmp_path / "x.nii.gz", "--correct", first, *unknown) == 2
    assert "expected a correction of tube, got one of 'tuba'" in capsys.readouterr().err


@pytest.mark.weights
def test_a_replay_says_no_to_other_weights_images_and_files(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, again = tmp_path / "first.nii.gz", tmp_path / "again.nii.gz"
    assert run("-i", scan, "-o", out, "--box", "14,16,46,48@5", "--propagate", "none") == 0
    file = tmp_path / "first.nii.gz.json"
    facts = json.loads(file.read_text())

    def replay(change: dict[str, Any]) -> str:
        other = tmp_path / "other.json"
        other.write_text(json.dumps({**facts, **change}))
        capsys.readouterr()
        assert run("--replay", other, "-o", again) == 2
        assert not again.exists()
        return capsys.readouterr().err

    model = {**facts["model"], "weights_sha256": "0" * 64}
    assert "expected weights with sha256 000000000000..." in replay({"model": model})
    assert "expected the image of the earlier run" in replay(
        {"input": {**facts["input"], "voxels_sha256": "0"}}
    )
    (tmp_path / "bare.json").write_text("{}")
    assert run("--replay", tmp_path / "bare.json", "-i", scan, "-o", again) == 2
    assert "expected the provenance of a segmentation" in capsys.readouterr().err
    older = {**facts, "masks_sha256": "0" * 64, "software": {**facts["software"], "torch": "1.0"}}
    file.write_text(json.dumps(older))
    assert run("--replay", file, "-o", again) == 0
    assert "torch 1.0 -> " in (said := capsys.readouterr()).err
    assert "DSC at least 1.0000" in said.out


def test_masks_on_another_grid_and_masks_for_a_box_model_are_refused(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((12, 64, 64), np.uint8)
    mask[4, 20:40, 20:40] = 1
    nib.save(nib.Nifti1Image(mask.T, np.diag([1, 1, 2, 1])), tmp_path / "hint.nii.gz")
    nib.save(nib.Nifti1Image(mask.T, np.diag([1, 1, 3, 1])), tmp_path / "moved.nii.gz")
    nib.save(nib.Nifti1Image(0 * mask.T, np.diag([1, 1, 2, 1])), tmp_path / "empty.nii.gz")
    out = tmp_path / "out" / "mask.nii.gz"
    cases = {
        "hint": "got a mask; use --model promptseg-lite",
        "moved": "expected labels on the grid of scan.nii.gz",
        "empty": "expected at least one labelled voxel",
        "none": "no such file",
    }
    for name, message in cases.items():
        assert run("-i", scan, "-o", out, "--mask", tmp_path / f"{name}.nii.gz") == 2
        assert message in capsys.readouterr().err
    assert run("-i", scan, "-o", out, "--mask", scan) == 2
    assert "expected a label image of whole numbers from 0" in capsys.readouterr().err
    assert not out.parent.exists()


@pytest.mark.weights
def test_a_click_in_mm_is_the_click_in_voxels(scan: Path, tmp_path: Path) -> None:
    results = []
    for name, point in (("a", "30,32,+@5"), ("b", "-30,-32,10mm,+")):
        out = tmp_path / name / "mask.nii.gz"
        assert run("-i", scan, "-o", out, "--point", point, "--force", "--slices", "5:5") == 0
        results.append(np.asarray(nib.load(out).dataobj))
    np.testing.assert_array_equal(*results)


def test_a_provenance_that_cannot_be_replayed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts: dict[str, Any] = {
        "software": {},
        "options": {},
        "model": {"name": "lite-medsam", "device": "cpu", "weights_sha256": "0"},
        "input": {"path": "scan.nii.gz", "voxels_sha256": "0"},
        "prompts": {"objects": [{"box3d": [0, 0, 0, 1, 1, 1]}]},
        "masks_sha256": "0",
    }
    cases: list[tuple[dict[str, Any], str]] = [
        ({"session": ["box on a"]}, "got .* of a session.*resume the session file instead"),
        ({"model": None}, "expected the provenance of a segmentation"),
        ({"model": {}}, "expected the provenance of a segmentation"),
        ({"input": 3}, "a provenance of promptseg with input: a JSON object, got 3 in"),
        ({"software": []}, "software: a JSON object"),
        ({"masks_sha256": None}, "expected the provenance of a segmentation"),
        ({"command": [1]}, "command: a JSON object"),
    ]
    for change, message in cases:
        file = tmp_path / "facts.json"
        file.write_text(json.dumps({**facts, **change}))
        assert run("--replay", file, "-o", tmp_path / "mask.nii.gz") == 2
        assert re.search(message, capsys.readouterr().err)
    file.write_text("[" * 100_000)
    assert run("--config", file) == 2


def test_prompts_outside_the_image_are_refused_before_weights_are_fetched(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from promptseg.jobs import segment as job

    monkeypatch.delattr(job, "load")
    for box, message in (("1,1,5,5@12", "a slice from 0 to 11"), ("1,1,64,5@3", "x 0..63")):
        assert run("-i", scan, "-o", tmp_path / "mask.nii.gz", "--box", box) == 2
        assert message in capsys.readouterr().err
    assert run("-i", scan, "-o", tmp_path / "mask.nii.gz") == 2
    assert "expected at least one prompt" in capsys.readouterr().err


def test_an_earlier_run_along_another_axis_is_done_along_it(tmp_path: Path) -> None:
    from promptseg.cli.segment import _from_config

    old = {
        "software": {},
        "options": {"axis": "y"},
        "command": {"input": "scan.nii.gz", "axis": "z"},
        "model": {"name": "lite-medsam", "device": "cpu"},
    }
    for replay in (False, True):
        assert _from_config(old, tmp_path / "mask.json", replay)["axis"] == "y"
