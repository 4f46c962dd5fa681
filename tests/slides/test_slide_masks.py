"""Outlines, and answers of regions joined on one grid, against masks of all pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from promptseg.errors import InputError
from promptseg.formats.slide import Region
from promptseg.prompts import Box, Points
from promptseg.slides import outlines as outlining
from promptseg.slides.joined import joined, within
from promptseg.slides.layer import Bits, Layer, Patch
from promptseg.slides.outlines import area_of, outlines
from slides.makers import covered

EIGHT = np.ones((3, 3))


@pytest.mark.parametrize("seed", range(30))
def test_outlines_cover_the_mask_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 24), rng.integers(1, 24))) < rng.uniform(0.1, 0.95)
    found = outlines(mask)
    np.testing.assert_array_equal(covered(found, mask.shape), mask)
    parts, count = ndimage.label(mask)
    assert len(found) == count
    for polygon in found:
        alone = covered([polygon], mask.shape)
        assert len(np.unique(parts[alone])) == 1
        np.testing.assert_array_equal(alone, parts == parts[alone][0])
        holes = ndimage.label(np.pad(~alone, 1, constant_values=True), EIGHT)[1] - 1
        assert len(polygon) == 1 + holes
        np.testing.assert_array_equal(  # the first ring has the holes in it
            covered([polygon[:1]], mask.shape), ndimage.binary_fill_holes(alone, EIGHT)
        )
    assert area_of(found) == mask.sum()


def test_outlines_have_corners_alone() -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:5, 2:8] = True
    assert outlines(mask) == [[[(2, 1), (8, 1), (8, 5), (2, 5)]]]
    mask[2:4, 3:5] = False
    assert outlines(mask)[0][1] == [(3, 2), (5, 2), (5, 4), (3, 4)]
    assert outlines(np.zeros((3, 3), bool)) == []
    assert outlines(np.zeros((0, 0), bool)) == []


def test_outlines_are_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(7).random((37, 29)) < 0.6
    whole = outlines(mask)
    for rows in (1, 2, 5, 37, 38):
        monkeypatch.setattr(outlining, "_BLOCK", rows)
        assert outlines(mask) == whole


def test_outlines_lie_where_the_lines_are() -> None:
    mask = np.array([[True, False], [True, True]])
    assert outlines(mask, [10, 14, 15], [0, 100, 101]) == [
        [[(10, 0), (14, 0), (14, 100), (15, 100), (15, 101), (10, 101)]]
    ]


def layer(patch: Patch, mask: NDArray[np.bool_], base: NDArray[np.bool_] | None = None) -> Layer:
    held = None if base is None else Bits.of(base)
    return Layer(patch, held, Bits.of(mask), (), "bright")


@pytest.mark.parametrize("seed", range(20))
def test_layers_are_joined_as_on_all_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = np.zeros((64, 80), bool)
    layers = []
    for _ in range(rng.integers(1, 5)):
        zoom = int(rng.integers(0, 4))
        step = 1 << zoom
        width, height = (int(rng.integers(1, n // step + 1)) * step for n in (48, 40))
        x, y = int(rng.integers(0, 80 - width + 1)), int(rng.integers(0, 64 - height + 1))
        patch = Patch(Region(x, y, width, height), zoom)
        here = full[y : y + height, x : x + width]
        share = here.reshape(height // step, step, width // step, step).mean((1, 3))
        there = within(joined(layers), patch)
        np.testing.assert_array_equal(there, share >= 0.5)
        mask = rng.random(patch.shape) < 0.5
        base = there if there.any() else None
        layers.append(layer(patch, mask, base))
        wide = np.kron(mask, np.ones((step, step), bool))
        was = np.kron(there, np.ones((step, step), bool))
        here |= wide & ~was
        here &= ~(was & ~wide)
    grid = joined(layers)
    np.testing.assert_array_equal(
        covered(outlines(grid.mask, grid.xs.tolist(), grid.ys.tolist()), full.shape), full
    )
    assert grid.area == full.sum()


def test_what_a_region_leaves_as_it_was_stays_fine() -> None:
    """A coarse answer beside a fine one takes nothing of its detail."""
    fine = np.random.default_rng(0).random((32, 32)) < 0.7
    first = layer(Patch(Region(0, 0, 32, 32), 0), fine)
    patch = Patch(Region(0, 0, 64, 32), 3)
    base = within(joined([first]), patch)
    mask = base.copy()
    mask[:, 6:] = True
    grid = joined([first, layer(patch, mask, base)])
    expected = np.zeros((32, 64), bool)
    expected[:, :32] = fine
    expected[:, 48:] = True
    np.testing.assert_array_equal(
        covered(outlines(grid.mask, grid.xs.tolist(), grid.ys.tolist()), (32, 64)), expected
    )


def test_a_grid_that_memory_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.slides.joined._MOST_CELLS", 100)
    with pytest.raises(InputError, match="begin another object"):
        joined([layer(Patch(Region(0, 0, 11, 11), 0), np.ones((11, 11), bool))])


def test_layers_come_back_from_plain_values() -> None:
    rng = np.random.default_rng(3)
    patch = Patch(Region(8, 16, 64, 32), 2)
    base, mask = rng.random((2, 8, 16)) < 0.3
    prompts = (Box((1, 2, 3.5, 4)), Points(((1.0, 2.0), (3.0, 4.0)), (1, 0)))
    kept = Layer(patch, Bits.of(base), Bits.of(mask), prompts, "bright", 0.75)
    again = Layer.from_json(kept.to_json(), (100, 100))
    assert (again.patch, again.model, again.predicted_iou) == (patch, "bright", 0.75)
    assert again.base is not None
    np.testing.assert_array_equal(again.base.mask, base)
    np.testing.assert_array_equal(again.mask.mask, mask)
    assert again.to_json() == kept.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"region": [8, 16, 63, 32]},
        {"region": [8, 16, 640, 32]},
        {"zoom": -1},
        {"mask": [0, 9, 0, 1, ""]},
        {"mask": [0, 8, 0, 16, "AAAA"]},
        {"prompts": [{"box": [1]}]},
        {"predicted_iou": "x"},
    ],
)
def test_damaged_layers_are_refused(change: dict[str, object]) -> None:
    patch = Patch(Region(8, 16, 64, 32), 2)
    content = layer(patch, np.ones(patch.shape, bool)).to_json()
    with pytest.raises(InputError, match="a layer of a slide's session"):
        Layer.from_json({**content, **change}, (100, 100))
