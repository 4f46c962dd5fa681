"""Standard error is ours: one form, no words or places of libraries, scores within their range."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image as PilImage

from fakes import BrightModel, BrightPredictor, ball
from formats.helpers import random_voxels
from promptseg.cli import main as command
from promptseg.cli.main import main
from promptseg.errors import ModelError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Predictor
from promptseg.models.protocol import Prediction
from promptseg.prompts import Box
from promptseg.segment.segmenter import Segmenter


def cut_metaimage(folder: Path) -> Path:
    path = folder / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(random_voxels()), str(path))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def cut_tiff(folder: Path) -> Path:
    path = folder / "a.tif"
    PilImage.fromarray(random_voxels((90, 80), np.uint8)).save(path, compression="tiff_deflate")
    content = bytearray(path.read_bytes())
    content[60:200] = bytes(140)
    path.write_bytes(content)
    return path


def odd_nifti(folder: Path) -> Path:
    """nibabel logs that a voxel size is negative; the image can be read."""
    path = folder / "a.nii"
    nib.save(nib.Nifti1Image(random_voxels().T, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[80:84] = np.float32(-1).tobytes()
    path.write_bytes(content)
    return path


def large_picture(folder: Path) -> Path:
    """Pillow warns from 89 million pixels on, with a line of its source."""
    path = folder / "a.png"
    PilImage.fromarray(np.zeros((9_500, 10_000), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("make", [cut_metaimage, cut_tiff, odd_nifti, large_picture])
def test_every_line_has_our_prefix(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """In a process of its own: libraries in C write past Python."""
    run = subprocess.run(
        [sys.executable, "-m", "promptseg", "info", str(make(tmp_path))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert run.returncode == (2 if make.__name__.startswith("cut") else 0), run.stderr
    lines = run.stderr.splitlines()
    assert all(line.startswith(("note: ", "error: ")) for line in lines), run.stderr
    assert "site-packages" not in run.stderr
    assert len(lines) == (run.returncode == 2)


def test_what_libraries_warn_of_looks_like_our_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    command._name_libraries()
    where = "/somewhere/lib/python3/site-packages/odd/part.py"
    warnings.showwarning("two\nlines", UserWarning, where, 7)
    assert logging.lastResort
    logging.lastResort.handle(logging.makeLogRecord({"name": "odd.part", "msg": "three\n lines"}))
    assert capsys.readouterr().err == "note: odd: two lines\nnote: odd: three lines\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input: " + "[" * 5_000 + "]" * 5_000, "in YAML or JSON"),
        ("[" * 100_000 + "]" * 100_000, "in YAML or JSON"),
        ("a: &a [x, x]\nwindow: *a", "an alias"),
        ("a: !!python/object:os.system x", "in YAML or JSON"),
        ("? [a, b]\n: 1", "in YAML or JSON"),
        ("frame: " + "9" * 5_000, "in YAML or JSON|frame"),
    ],
)
def test_configurations_that_are_traps(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert main(["segment", f"--config={path}"]) == 2
    shown = capsys.readouterr().err
    assert re.search(said, shown)
    assert shown.startswith("error: ")


class Overshooting(BrightModel):
    """A model whose numbers are not what they should be."""

    iou = np.nan

    def decode(self, *arguments: object, **named: object) -> Prediction:
        found = super().decode(*arguments, **named)  # type: ignore[arg-type]
        return Prediction(found.logits, found.masks, np.full_like(found.iou, self.iou))


def test_a_prediction_that_is_no_number_is_refused_by_name() -> None:
    voxels = np.where(ball((9, 32, 32), (4, 16, 16), 6), 200, 0).astype(np.uint8)
    image = Image(voxels, Geometry.from_spacing(voxels.shape, (1.0, 1.0, 2.0)), "CT")
    predictor = BrightPredictor()
    broken = Predictor(Overshooting(), predictor.weights, predictor.weights_sha256)
    with pytest.raises(ModelError, match=r"NaN or infinity in a predicted IoU of lite-medsam"):
        Segmenter(broken).segment(image, Box((8, 8, 24, 24), 4))
