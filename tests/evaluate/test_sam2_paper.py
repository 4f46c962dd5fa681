"""The protocol of the SAM2 medical benchmark, beside its rules written out line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import BrightPredictor
from jobs.test_evaluate import block, describe, run, save_volume
from promptseg.errors import InputError
from promptseg.evaluate.options import EvaluateJob

SHAPE = (14, 30, 40)
PLAIN: dict[str, Any] = {"propagate": "box", "margin": 0.0, "margin_pixels": 0.0}

Mask = NDArray[np.bool_]


def leaning(first: int, last: int, rows: tuple[int, int], left: int, width: int) -> Mask:
    """A block that moves a column to the right from slice to slice."""
    mask = np.zeros(SHAPE, bool)
    for k in range(first, last + 1):
        mask |= block(SHAPE, (k, k), rows, (left + k, left + k + width - 1))
    return mask


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two leaning objects side by side in one bright region, which goes on beyond their slices."""
    folder = tmp_path / "data" / "ct__leaning"
    one, two = leaning(2, 9, (5, 14), 6, 9), leaning(4, 10, (8, 12), 15, 6)
    bright = leaning(1, 12, (4, 15), 5, 18)
    save_volume(folder, "patient0", one + 2 * (two & ~one), bright)
    describe(folder, "CT", t1="one", t2="two")
    return folder


def box_of(mask: Mask) -> Mask:
    """(rows, columns) filled where the box of a mask is."""
    filled = np.zeros_like(mask)
    if mask.any():
        y, x = np.nonzero(mask)
        filled[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
    return filled


def literal(bright: Mask, labels: NDArray[Any], start_with_truth: bool) -> NDArray[Any]:
    """The rules, for a model that finds what is bright in a box."""
    out = np.zeros(SHAPE, int)
    for number in (1, 2):
        truth = labels == number
        z = np.flatnonzero(truth.any(axis=(1, 2)))
        first, last = z[0], z[-1]
        start = first + (last - first + 1) // 2
        found = np.zeros(SHAPE, bool)
        found[start] = truth[start] if start_with_truth else bright[start] & box_of(truth.any(0))
        for k in range(start + 1, last + 1):
            found[k] = bright[k] & box_of(found[k - 1])
        for k in range(start - 1, first - 1, -1):
            found[k] = bright[k] & box_of(found[k + 1])
        out[found] = number
    return out


@pytest.mark.parametrize("prompt", ["box", "mask"])
def test_rows_are_those_of_the_rules(data: Path, tmp_path: Path, prompt: str) -> None:
    import nibabel as nib

    predictor = BrightPredictor(card="mobile-sam")
    rows = run(
        data, tmp_path / "out", predictor, protocol=("sam2-paper",), prompt=(prompt,), **PLAIN
    )
    bright = np.asarray(nib.load(data / "patient0_image.nii.gz").dataobj).T > 100
    labels = np.asarray(nib.load(data / "patient0_label.nii.gz").dataobj).T
    expected = literal(bright, labels, start_with_truth=prompt == "mask")
    assert [(r.protocol, r.prompt, r.target) for r in rows] == [
        ("sam2-paper", prompt, "one"),
        ("sam2-paper", prompt, "two"),
    ]
    for number, row in enumerate(rows, 1):
        truth, found = labels == number, expected == number
        assert row.found_size == found.sum()
        assert row.dsc == pytest.approx(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    asked = predictor.model.boxes[0]
    if prompt == "box":  # the projection of the whole object, not the box of its slice
        assert asked == (8.0, 5.0, 23.0, 14.0)


def test_it_is_not_the_plain_protocol(data: Path, tmp_path: Path) -> None:
    paper = run(data, tmp_path / "a", protocol=("sam2-paper",), **PLAIN)
    plain = run(data, tmp_path / "b", protocol=("3d",), **PLAIN)
    assert [r.dsc for r in paper] != [r.dsc for r in plain]


def test_the_starting_model_is_named(data: Path, tmp_path: Path) -> None:
    rows = run(data, tmp_path / "out", protocol=("sam2-paper",), start_model="lite-medsam", **PLAIN)
    assert {r.prompt for r in rows} == {"box of mobile-sam"}  # the double has that card


def test_clicks_have_no_place_in_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a prompt out of box, mask for sam2-paper"):
        EvaluateJob(
            input=data, output=tmp_path / "out", protocol=("sam2-paper",), prompt=("point",)
        )
