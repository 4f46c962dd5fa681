"""The overlay shows patients the way radiologists look at them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg.display import content_of, display_of, show_slice
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


def body(shape: tuple[int, int] = (200, 240)) -> np.ndarray:
    """Air with an ellipse of soft tissue in it, and a table below; HU."""
    rows, columns = np.indices(shape)
    values = np.full(shape, -1000, np.int16)
    values[((rows - 90) / 50) ** 2 + ((columns - 120) / 70) ** 2 < 1] = 40
    values[170:173, 100:140] = 20
    return values


def test_what_is_shown_is_the_body_and_not_the_air() -> None:
    shown = np.where(body() > -500, 128, 0).astype(np.uint8)
    left, top, right, bottom = content_of([shown]) or (0, 0, 0, 0)
    assert (left, top) == (pytest.approx(50, abs=6), pytest.approx(40, abs=6))
    assert (right, bottom) == (pytest.approx(190, abs=6), pytest.approx(140, abs=6))
    assert content_of([np.full((50, 60), 90, np.uint8)]) is None  # nothing but body
    assert content_of([np.zeros((50, 60), np.uint8)]) is None
    spot = np.zeros((200, 240), np.uint8)
    spot[90:100, 100:110] = 200
    assert content_of([spot]) is None  # an object in the dark is not a body


def test_prompts_and_objects_are_never_cut_off() -> None:
    values = np.repeat(body()[None], 3, axis=0)
    values[1, 180:190, 10:20] = 200  # outside the body
    image = Image(values, Geometry.from_spacing(values.shape, (1, 1, 5)), "CT")
    result = Segmenter(BrightPredictor()).segment(image, Box((10, 180, 19, 189), 1, "far"))
    sheet = overlay_picture(result, image, choose_intensity(image), [Box((10, 180, 19, 189), 1)])
    assert (np.asarray(sheet) == COLOURS[0]).all(-1).sum() > 20


def bar_length(picture: np.ndarray) -> int:
    """The longest run of white in the lowest rows of a panel."""
    rows = (picture == 255).all(-1)[-14:]
    return max(len(run) for row in rows for run in "".join("x" if v else " " for v in row).split())


@pytest.mark.parametrize(("spacing", "unit_pixels"), [((0.5, 0.5, 1), 0.5), (None, 1.0)])
def test_the_bar_is_as_long_as_it_says(
    spacing: tuple[float, float, float] | None, unit_pixels: float
) -> None:
    values = np.full((100, 200), 60, np.uint8)
    values[40:60, 90:110] = 200
    geometry = (
        Geometry.pixels(values.shape)
        if spacing is None
        else Geometry.from_spacing(values.shape, spacing)
    )
    image = Image(values, geometry, "US")
    result = Segmenter(BrightPredictor()).segment(image, Box((90, 40, 109, 59), name="block"))
    panel = np.asarray(overlay_picture(result, image, choose_intensity(image)))[6:518, 6:1030]
    pixels = 1024 / 200 / unit_pixels  # of the 2D image, per millimetre or pixel
    possible = [n * 10**k * pixels for n in (1, 2, 5) for k in range(3)]
    assert min(abs(bar_length(panel) - length) for length in possible) <= 2
    assert 0.1 * 1024 <= bar_length(panel) <= 0.3 * 1024


def test_small_objects_are_enlarged_beside() -> None:
    values = np.full((400, 400), 60, np.uint8)
    values[100:112, 300:312] = 200
    image = Image(values, Geometry.pixels((400, 400)), "US")
    result = Segmenter(BrightPredictor()).segment(image, Box((300, 100, 311, 111), name="spot"))
    sheet = overlay_picture(result, image, choose_intensity(image))
    assert sheet.width > 1024 + 300
    beside = np.asarray(sheet)[6:386, 1036:1416]
    edge = (beside == COLOURS[0]).all(-1)[8:-8, 8:-8]  # without the frame
    rows, columns = np.nonzero(edge)
    assert np.ptp(rows) > 100  # 12 pixels, some ten times enlarged
    assert np.ptp(columns) > 100
    values[50:350, 50:350] = 200
    large = Segmenter(BrightPredictor()).segment(image, Box((50, 50, 349, 349), name="block"))
    assert overlay_picture(large, image, choose_intensity(image)).width < 1100


def test_a_tile_of_a_slice_has_the_steps_of_the_slice() -> None:
    image = Image(body(), Geometry.from_spacing((200, 240), (0.7, 1.4, 1)), "CT")
    shown = show_slice(image, choose_intensity(image), "z", 0, 300, (10, 20, 109, 69))
    assert (shown.steps, shown.unit) == ((pytest.approx(0.7), pytest.approx(1.4)), "mm")
    assert shown.picture.size == (300, 300)  # 70 x 70 mm
