"""Clean-up of masks against hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import ball
from promptseg.geometry import AXES, Axis
from promptseg.segment.postprocess import fill_holes, largest_component, smooth_across_slices


def test_largest_component_keeps_the_largest_and_joins_corners() -> None:
    mask = np.zeros((4, 12, 12), dtype=bool)
    mask[:, 1:5, 1:5] = True
    mask[3, 5, 5] = True  # touches by a corner
    mask[0, 9:11, 9:11] = True
    kept = largest_component(mask)
    assert kept.sum() == 4 * 16 + 1
    assert not kept[0, 9, 9]
    empty = np.zeros((3, 3), dtype=bool)
    assert not largest_component(empty).any()


@pytest.mark.parametrize("axis", AXES)
def test_holes_are_filled_within_slices_of_the_axis_only(axis: Axis) -> None:
    solid = ball((15, 15, 15), (7, 7, 7), 6)
    tunnel = solid.copy()
    tunnel[:, 7, 7] = False  # enclosed on slices along z, open on the others
    filled = fill_holes(tunnel, axis)
    if axis == "z":
        # the single pixels at the poles have nothing around them
        assert (filled ^ solid).sum() == (solid & ~filled).sum() <= 2
    else:
        np.testing.assert_array_equal(filled, tunnel)


def test_holes_in_a_picture() -> None:
    ring = np.ones((7, 7), dtype=bool)
    ring[3, 3] = False
    assert fill_holes(ring).all()


@pytest.mark.parametrize("axis", AXES)
def test_smoothing_is_a_majority_vote_that_keeps_the_ends(axis: Axis) -> None:
    slices = np.zeros((9, 5, 5), dtype=bool)
    slices[2:7, 1:4, 1:4] = True
    slices[4, 2, 2] = False  # lost in one slice
    slices[4, 0, 0] = True  # found in one slice
    mask = np.moveaxis(slices, 0, AXES.index(axis))
    out = np.moveaxis(smooth_across_slices(mask, 1, axis), AXES.index(axis), 0)
    expected = np.zeros_like(slices)
    expected[2:7, 1:4, 1:4] = True
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(smooth_across_slices(mask, 0, axis), mask)
