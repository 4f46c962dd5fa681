"""Sizes against geometry one can do by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import ball
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.image import Segment
from promptseg.segment.measure import long_and_short_axis, measure


def segment(mask: np.ndarray) -> Segment:
    return Segment.from_mask("object", 1, mask)


def test_an_ellipse_has_its_own_axes_at_any_angle() -> None:
    y, x = np.indices((400, 400)) - 200
    for degrees in (0, 30, 75):
        angle = np.radians(degrees)
        u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        mask = (u / 150) ** 2 + (v / 60) ** 2 <= 1
        steps = np.array([[0.5, 0], [0, 0.5], [0, 0]])
        long_axis, short_axis = long_and_short_axis(mask, steps)
        assert long_axis == pytest.approx(150, abs=1)
        assert short_axis == pytest.approx(60, abs=1)


def test_anisotropic_pixels_count_in_millimetres() -> None:
    mask = np.ones((10, 4), dtype=bool)  # 10 rows of 2 mm, 4 columns of 0.5 mm
    long_axis, short_axis = long_and_short_axis(mask, np.array([[0.5, 0], [0, 2.0], [0, 0]]))
    assert long_axis == pytest.approx(np.hypot(20, 1.5), rel=1e-3)
    assert 1.5 < short_axis <= 2.05


def test_a_single_pixel_has_a_size() -> None:
    assert long_and_short_axis(np.ones((1, 1), dtype=bool), np.eye(3)[:, :2]) == pytest.approx(
        (1, 1)
    )


@pytest.mark.parametrize("axis", AXES)
def test_volume_and_recist_of_a_ball(axis: Axis) -> None:
    mask = ball((41, 61, 61), (20, 30, 30), 15)
    geometry = Geometry.from_spacing(mask.shape, (2.0, 2.0, 2.0))
    found = measure(segment(mask), geometry, axis)
    assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 30**3 / 1000, rel=0.02)
    assert found["long_axis"] == pytest.approx(62, abs=2)
    assert found["short_axis"] == pytest.approx(62, abs=2)
    assert found["unit"] == "mm"
    assert found["slice"] == (20, 30, 30)[AXES.index(axis)]


def test_a_sheared_grid_has_the_volume_of_its_parallelepiped() -> None:
    matrix = np.array([[1.0, 0, 0.8], [0, 1.0, 0], [0, 0, 2.0]])
    geometry = Geometry((5, 4, 3), matrix, np.zeros(3))
    found = measure(segment(np.ones((5, 4, 3), dtype=bool)), geometry)
    assert found["volume_ml"] == pytest.approx(60 * 2.0 / 1000)


def test_pictures_count_pixels_unless_their_size_is_known() -> None:
    mask = np.ones((4, 5), dtype=bool)
    assert measure(segment(mask), Geometry.pixels((4, 5)))["area_px"] == 20
    known = Geometry.from_spacing((4, 5), (0.5, 0.5, 1))
    found = measure(segment(mask), known)
    assert found["area_mm2"] == 5
    assert found["unit"] == "mm"


def test_nothing_has_no_axes() -> None:
    found = measure(segment(np.zeros((3, 4, 5), dtype=bool)), Geometry.from_spacing((3, 4, 5)))
    assert found["voxels"] == 0
    assert found["long_axis"] is None
