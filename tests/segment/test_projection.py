"""Prompts derived from a neighbour's mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from promptseg.models.families.sam.mask_prompt import logits_of_mask
from promptseg.models.preprocess import Preprocessing
from promptseg.segment.projection import (
    MODES,
    deepest_point,
    kinds_of,
    project,
    spread_points,
)

TRANSFORM = Preprocessing(256, "minmax").input_transform(60, 80)


def disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices((60, 80))
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2)


@given(arrays(bool, (9, 11)))
def test_points_lie_inside_the_mask(mask: np.ndarray) -> None:
    mask[4, 5] = True
    points = spread_points(mask, 3)
    assert points[0] == deepest_point(mask)
    assert len(set(points)) == len(points)
    assert all(mask[int(y), int(x)] for x, y in points)


def test_the_deepest_point_of_a_disc_is_its_centre_and_of_a_ring_is_on_the_ring() -> None:
    assert deepest_point(disc((33, 21), 9)) == (33, 21)
    ring = disc((33, 21), 12) & ~disc((33, 21), 7)
    x, y = deepest_point(ring)
    assert ring[int(y), int(x)]


def test_the_edge_of_the_image_counts_as_outside() -> None:
    mask = np.zeros((60, 80), dtype=bool)
    mask[:, :11] = True
    assert deepest_point(mask)[0] == 5


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_asks_with_what_its_name_says(mode: str) -> None:
    mask = disc((33, 21), 9)
    prompt = project(mode, mask, None, (23, 11, 43, 31))
    assert prompt.kinds == kinds_of(mode)
    if "points" in mode.split("+"):
        labels = prompt.labels
        assert [bool(mask[int(y), int(x)]) for x, y in prompt.xy] == [bool(v) for v in labels]
        assert labels.count(1) == 3
        assert labels.count(0) == 4


def test_a_mask_as_logits_comes_back_as_the_mask() -> None:
    mask = disc((33, 21), 9)
    logits = logits_of_mask(mask, TRANSFORM)
    assert logits.shape == (1, 1, 256, 256)
    assert float(logits.max()) == pytest.approx(np.log(999), abs=1e-3)
    back = TRANSFORM.restore(logits)[0].numpy() > 0
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.98
    assert (logits[..., TRANSFORM.resized[0] :, :] < 0).all()
