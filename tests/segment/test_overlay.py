"""The overlay shows patients the way radiologists look at them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg.display import display_of
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.image import Image
from promptseg.intensity import choose_intensity
from promptseg.prompts import Box
from promptseg.segment.overlay import COLOURS, overlay_picture
from promptseg.segment.segmenter import Segmenter

SIDES = {
    # towards which side the shown columns and rows grow, for slices across each patient axis
    "S": ("L", "P"),
    "P": ("L", "I"),
    "L": ("P", "I"),
}
DIRECTION = {"L": (0, 1), "P": (1, 1), "S": (2, 1), "R": (0, -1), "A": (1, -1), "I": (2, -1)}


def all_orientations() -> list[np.ndarray]:
    return [
        np.eye(3)[:, list(order)] * np.array(signs)
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]


@pytest.mark.parametrize("direction", all_orientations(), ids=lambda d: str(d.astype(int).tolist()))
@pytest.mark.parametrize("axis", AXES)
def test_every_orientation_is_shown_the_same_way(direction: np.ndarray, axis: Axis) -> None:
    geometry = Geometry.from_spacing((9, 9, 9), direction=direction)
    display = display_of(geometry, axis)
    k = "xyz".index(axis)
    across = "LPS"[int(np.abs(direction[:, k]).argmax())]
    columns, rows = SIDES[across]
    assert display.letters[1] == columns
    assert display.letters[3] == rows

    # light up the voxels towards those two sides, and look where they appear
    index = np.moveaxis(np.indices((9, 9, 9))[::-1], 0, -1)
    world = geometry.to_world(index) - geometry.to_world((4, 4, 4))
    for side, shown_axis in ((columns, 1), (rows, 0)):
        component, sign = DIRECTION[side]
        lit = (world[..., component] * sign > 2).astype(np.uint8)
        image = Image(lit, geometry, "MR")
        shown = display.turn(image.slice(4, axis))
        centre = np.argwhere(shown).mean(axis=0)
        assert centre[shown_axis] > 5
        assert centre[1 - shown_axis] == pytest.approx(4)


def test_points_turn_with_the_picture() -> None:
    for direction in all_orientations():
        geometry = Geometry.from_spacing((5, 6, 7), direction=direction)
        for axis in AXES:
            display = display_of(geometry, axis)
            stored = np.zeros(geometry.slice_shape(axis), dtype=np.uint8)
            stored[1, 2] = 1
            shown = display.turn(stored)
            x, y = display.turn_xy(2, 1, (shown.shape[0], shown.shape[1]))
            assert shown[int(y), int(x)] == 1


def test_volume_sheet_has_colours_letters_and_true_proportions() -> None:
    values = np.zeros((12, 30, 40), dtype=np.int16)
    values[3:9, 10:20, 10:30] = 200
    image = Image(values, Geometry.from_spacing(values.shape, (1, 2, 5)), "CT")
    box = Box((10, 10, 29, 19), 5, "block")
    segmenter = Segmenter(BrightPredictor())
    result = segmenter.segment(image, box)
    sheet = overlay_picture(result, image, choose_intensity(image), [box])
    pixels = np.asarray(sheet)
    assert (pixels == COLOURS[0]).all(-1).sum() > 500
    assert (pixels == 255).all(-1).any()
    assert sheet.width > sheet.height / 2
    single = overlay_picture(
        segmenter.segment(image, box, propagate="none"), image, choose_intensity(image), [box]
    )
    # one slice of 40 x 60 mm: 683 x 1024 pixels, as 40 columns of 1 mm and 30 rows of 2 mm
    assert single.width == pytest.approx(683, abs=20)


def test_a_picture_is_shown_as_stored() -> None:
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    picture[5:10, 20:25] = 250
    image = Image(picture, Geometry.pixels((20, 30)), "dermoscopy")
    result = Segmenter(BrightPredictor()).segment(image, Box((20, 5, 24, 9), name="spot"))
    sheet = np.asarray(overlay_picture(result, image, choose_intensity(image)))
    rows, columns = np.nonzero((sheet == COLOURS[0]).all(-1)[:680])
    assert columns.mean() > 500
    assert rows.mean() < 340
