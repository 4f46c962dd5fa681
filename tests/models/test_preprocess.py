"""Preprocessing belongs to the model: what each one is fed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptseg.models.cards import CARDS
from promptseg.models.preprocess import Frame, Preprocessing


@pytest.mark.parametrize(
    ("rows", "columns", "resized"),
    [(512, 512, (256, 256)), (300, 451, (170, 256)), (35, 51, (176, 256)), (3, 900, (1, 256))],
)
def test_the_longest_side_fills_the_input(
    rows: int, columns: int, resized: tuple[int, int]
) -> None:
    frame = CARDS["lite-medsam"].preprocessing.frame(rows, columns)
    assert frame.resized == resized
    corner = frame.scale_xy(np.array([[columns, rows]]))
    assert corner.max() == pytest.approx(256)


def test_lite_medsam_scales_to_one_before_padding() -> None:
    picture = np.linspace(50, 200, 100 * 200).reshape(100, 200).astype(np.uint8)
    values, frame = Preprocessing(256, "minmax").apply(picture)
    assert values.shape == (3, 256, 256)
    rows, columns = frame.resized
    assert (values[:, :rows, :columns].min(), values[:, :rows, :columns].max()) == (0, 1)
    assert (values[:, rows:] == 0).all()
    np.testing.assert_array_equal(values[0], values[2])


def test_a_flat_slice_is_all_zero() -> None:
    values, _ = Preprocessing(256, "minmax").apply(np.full((10, 10), 7, np.uint8))
    assert (values == 0).all()


def test_sam_takes_imagenet_statistics_and_pads_after() -> None:
    picture = np.zeros((100, 50, 3), dtype=np.uint8)
    picture[...] = (124, 116, 104)
    values, frame = Preprocessing(1024, "imagenet").apply(picture)
    inside = values[:, : frame.resized[0], : frame.resized[1]]
    assert np.abs(inside).max() < 0.02
    assert (values[:, :, frame.resized[1] :] == 0).all()


def test_logits_come_back_onto_the_slice() -> None:
    frame = Frame((300, 451), (170, 256), 256, (256 / 451, 256 / 451))
    logits = torch.full((1, 1, 256, 256), -1.0)
    logits[..., :85, :128] = 1.0
    restored = frame.restore(logits)
    assert restored.shape == (1, 300, 451)
    ys, xs = np.nonzero(restored[0].numpy() > 0)
    assert ys.max() == pytest.approx(150, abs=1)
    assert xs.max() == pytest.approx(225, abs=1)
