"""Where objects start: what becomes of combined prompts."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg.errors import PromptError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.prompts import Box, Box3D, Marker, Mask, Points, group_by_object
from promptseg.segment.conditioning import boxes_between, conditioning_prompts
from promptseg.segment.segmenter import Segmenter

SHAPE = (20, 40, 48)
FREE = {"min_iou": 0, "min_area": 0, "max_growth": 100, "propagate": "box"}
ROOM = Box3D((5, 5, 4, 34, 34, 15), "a")


@pytest.fixture
def image() -> Image:
    values = np.zeros(SHAPE, np.uint8)
    values[2:18, 8:30, 8:40] = 200
    values[0, 0, 0] = 255
    return Image(values, Geometry.from_spacing(SHAPE), "CT")


def masks(image: Image, *prompts: object, **options: object) -> np.ndarray:
    segmenter = Segmenter(BrightPredictor(card="mobile-sam"))
    return segmenter.segment(image, *prompts, **{**FREE, **options})["a"]  # type: ignore[arg-type]


def test_a_slice_of_a_3d_box_is_answered_by_its_own_prompts(image: Image) -> None:
    alone = masks(image, ROOM)
    assert list(np.flatnonzero(alone.any((1, 2)))) == list(range(4, 16))
    both = masks(image, ROOM, Box((10, 10, 12, 12), 12, "a"))
    assert both[12].sum() == 9
    np.testing.assert_array_equal(both[4:12], alone[4:12])


def test_no_prompt_of_an_object_leaves_its_3d_box(image: Image) -> None:
    click = Points(((20, 20),), (1,), 12, "a")
    found = masks(image, ROOM, click)
    np.testing.assert_array_equal(found, masks(image, ROOM))
    assert not found[:, :, 35:].any()
    wide = masks(image, ROOM, Box((8, 8, 39, 29), 9, "a"))  # on the box's own slice
    np.testing.assert_array_equal(wide, found)


def test_clicks_on_the_middle_slice_of_a_3d_box_go_with_it(image: Image) -> None:
    image.voxels[:, 12:14, 8:40] = 0  # two parts, above and below a gap
    beside = Points(((20, 10),), (0,), 9, "a")
    found = masks(image, ROOM, beside)
    assert not found[9, :12].any()
    assert found[9, 14:30, 8:35].all()


def test_two_3d_boxes_of_one_object_are_joined(image: Image) -> None:
    left, right = Box3D((8, 8, 4, 15, 29, 11), "a"), Box3D((20, 8, 4, 30, 29, 15), "a")
    found = masks(image, left, right, margin=0, margin_pixels=0)
    expected = np.zeros(SHAPE, bool)
    expected[4:12, 8:30, 8:16] = expected[4:16, 8:30, 20:31] = True
    np.testing.assert_array_equal(found, expected)


def test_a_marked_slice_is_answered_by_its_own_prompts_too(image: Image) -> None:
    lines = [Marker(((10, 10), (20, 20)), None, k, "a") for k in (8, 12)]
    found = masks(image, *lines, Box((10, 10, 12, 12), 10, "a"))
    assert found[10].sum() == 9
    assert found[9].sum() == 11 * 11
    assert list(np.flatnonzero(found.any((1, 2)))) == list(range(8, 13))


def test_a_box_beyond_the_markers_is_followed_up_to_them(image: Image) -> None:
    lines = [Marker(((10, 10), (20, 20)), None, k, "a") for k in (8, 12)]
    (entry,) = group_by_object([*lines, Box((10, 10, 12, 12), 15, "a")], image.geometry)
    reach = {s.slice: s.reach for s in conditioning_prompts(entry, "z", (0, 19))}
    assert reach == {**{k: (k, k) for k in range(8, 13)}, 15: (13, 19)}


def test_clicks_correct_a_mask_drawn_on_their_slice(image: Image) -> None:
    drawn = np.zeros(SHAPE[1:], bool)
    drawn[2:5, 2:5] = True
    mask = Mask(drawn, 9, "a", as_drawn=True)
    found = masks(image, mask, Points(((20, 20),), (1,), 9, "a"), propagate="none")
    np.testing.assert_array_equal(found[9], drawn | (image.voxels[9] == 200))
    nothing = Mask(np.zeros_like(drawn), 9, "a", as_drawn=True)
    found = masks(image, nothing, Points(((20, 20),), (1,), 9, "a"), propagate="none")
    np.testing.assert_array_equal(found[9], image.voxels[9] == 200)


def test_prompts_that_cannot_work_are_refused_before_anything_is_encoded(image: Image) -> None:
    predictor = BrightPredictor(card="mobile-sam")
    good, bad = Box((8, 8, 20, 20), 9, "a"), Points(((20, 20),), (0,), 9, "b")
    with pytest.raises(PromptError, match="a box or a click inside 'b' on slice 9"):
        Segmenter(predictor).segment(image, good, bad)
    assert predictor.encoded == []


def test_the_middle_of_a_3d_box_counts_as_prompted_and_lines_between_markers_do_not(
    image: Image,
) -> None:
    segmenter = Segmenter(BrightPredictor())
    assert segmenter.segment(image, ROOM).segments[0].prompted == (9,)
    lines = [Marker(((10, 10), (20, 20)), None, k, "a") for k in (8, 12)]
    assert segmenter.segment(image, *lines).segments[0].prompted == (8, 12)


def test_whole_numbers_between_markers_are_not_rounded_up() -> None:
    lines = [Marker(((0, 0), (0, 7)), None, 0), Marker(((0, 0), (58, 7)), None, 14)]
    assert boxes_between(lines)[7].xyxy[2] == 29  # half of 58, interpolated: 29.000000000000004


def test_the_axis_asked_for_and_the_axis_of_the_prompts_must_agree(image: Image) -> None:
    segmenter = Segmenter(BrightPredictor())
    for prompt in (
        Box((8, 4, 20, 9), 9, "a", axis="y"),
        Box3D((8, 8, 4, 20, 20, 9), "a", axis="y"),
    ):
        assert segmenter.segment(image, prompt).provenance.options["axis"] == "y"
        with pytest.raises(
            PromptError, match="slices of one axis, got x and y; leave out the axis x"
        ):
            segmenter.segment(image, prompt, axis="x")
        with pytest.raises(
            PromptError, match="slices of one axis, got y and z; leave out the axis z"
        ):
            segmenter.segment(image, prompt, axis="z")


def test_a_prompt_without_an_axis_takes_that_of_the_others(image: Image) -> None:
    segmenter = Segmenter(BrightPredictor())
    along, free = Box((8, 4, 20, 9), 9, "a", axis="y"), Box((8, 4, 20, 9), 25, "b")
    for prompts in ((along, free), (free, along)):
        result = segmenter.segment(image, *prompts, propagate="none")
        assert result.provenance.options["axis"] == "y"
        assert list(np.flatnonzero(result["b"].any((0, 2)))) == [25]
    with pytest.raises(PromptError, match="a slice from 0 to 39 along y"):
        segmenter.segment(image, along, Box((8, 4, 20, 9), 40, "b"))
    assert segmenter.segment(image, Box((8, 8, 20, 9), 9)).provenance.options["axis"] == "z"
