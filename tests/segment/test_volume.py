"""Following an object through a volume, with a predictor whose masks are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fakes import BrightPredictor, ball
from promptseg.errors import InputError, PromptError, UnsupportedPromptError
from promptseg.geometry import AXES, Axis, Geometry
from promptseg.image import Image
from promptseg.inference.predictor import Prediction
from promptseg.prompts import Box, Box3D, Points, box_of_mask
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.volume import PropagationRule, grown_box

SHAPE = (20, 40, 48)
CENTRE = (10, 20, 24)


def volume(mask: np.ndarray, dtype: type = np.uint8) -> Image:
    values = np.where(mask, 200, 0).astype(dtype)
    values[0, 0, 0] = 255
    geometry = Geometry.from_spacing(mask.shape, (1.0, 1.5, 3.0))
    return Image(values, geometry, "CT")


def box_on(mask: np.ndarray, index: int, axis: Axis, name: str | None = None) -> Box:
    plane = np.take(mask, index, axis=AXES.index(axis))
    found = box_of_mask(plane)
    assert found
    return Box(found, index, name, axis)


@pytest.mark.parametrize("axis", AXES)
def test_a_ball_is_found_whole_from_one_box_on_any_axis(axis: Axis) -> None:
    truth = ball(SHAPE, CENTRE, 7)
    box = box_on(truth, CENTRE[AXES.index(axis)], axis, "ball")
    result = Segmenter(BrightPredictor()).segment(
        volume(truth), box, min_iou=0, min_area=0, margin=0.1
    )
    np.testing.assert_array_equal(result["ball"], truth)


def test_the_object_ends_where_it_ends_and_nothing_is_encoded_beyond() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    predictor = BrightPredictor()
    Segmenter(predictor).segment(volume(truth), box_on(truth, 10, "z"), min_iou=0, min_area=0)
    assert len(predictor.encoded) == 11 + 2  # the ball's slices and one empty slice on either side


def test_a_slice_that_disagrees_with_its_neighbour_ends_the_object() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[4:16, 10:20, 10:20] = True
    truth[12:16, 10:20, 10:20] = False
    truth[12:16, 10:20, 18:20] = True  # a fifth of the area
    box = box_on(truth, 8, "z", "part")
    found = Segmenter(BrightPredictor()).segment(volume(truth), box, min_iou=0.5)["part"]
    assert list(np.flatnonzero(found.any((1, 2)))) == list(range(4, 12))
    loose = Segmenter(BrightPredictor()).segment(volume(truth), box, min_iou=0.1, min_area=0.1)
    loose = loose["part"]
    assert list(np.flatnonzero(loose.any((1, 2)))) == list(range(4, 16))


def test_a_sudden_growth_ends_the_object() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[4:12, 15:20, 15:20] = True
    truth[12:, 12:24, 12:24] = True
    box = box_on(truth, 6, "z", "part")
    segmenter = Segmenter(BrightPredictor())
    image = volume(truth)
    found = segmenter.segment(image, box, margin=0.5, min_iou=0.0, max_growth=1.5)["part"]
    assert found[12:].sum() == 0
    grown = segmenter.segment(image, box, margin=0.5, min_iou=0.0, max_growth=10)["part"]
    assert grown[12].sum() > 25


def test_slices_limit_the_reach_and_propagation_can_be_off() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    segmenter, image = Segmenter(BrightPredictor()), volume(truth)
    box = box_on(truth, 10, "z", "ball")
    some = segmenter.segment(image, box, slices="8:11", min_iou=0)["ball"]
    assert list(np.flatnonzero(some.any((1, 2)))) == [8, 9, 10, 11]
    one = segmenter.segment(image, box, propagate="none")["ball"]
    assert list(np.flatnonzero(one.any((1, 2)))) == [10]
    with pytest.raises(PromptError, match="widen --slices"):
        segmenter.segment(image, box, slices="0:5")
    with pytest.raises(InputError, match="slices within 0:19"):
        segmenter.segment(image, box, slices="30:40")


def test_a_3d_box_bounds_the_object() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[:, 5:35, 5:40] = True
    box = Box3D((10, 8, 5, 20, 18, 14), "part")
    found = Segmenter(BrightPredictor()).segment(volume(truth), box, margin=0.5)["part"]
    expected = np.zeros(SHAPE, dtype=bool)
    expected[5:15, 8:19, 10:21] = True
    np.testing.assert_array_equal(found, expected)


def test_overlapping_objects_keep_a_layer_each_and_slices_are_encoded_once() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[5:15, 5:25, 5:25] = True
    predictor = BrightPredictor()
    result = Segmenter(predictor).segment(
        volume(truth),
        Box((5, 5, 15, 24), 9, "left"),
        Box((12, 5, 24, 24), 9, "right"),
        margin=0,
        margin_pixels=0,
    )
    assert result.overlaps() == [("left", "right", 10 * 20 * 4)]
    assert result["left"].sum() == 10 * 20 * 11
    assert result["right"].sum() == 10 * 20 * 13
    assert [s.label for s in result.segments] == [1, 2]
    assert len(predictor.encoded) == 12


def test_boxes_of_one_name_make_one_object() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[5:8, 5:10, 5:10] = True
    truth[12:15, 20:30, 20:30] = True
    boxes = (Box((5, 5, 9, 9), 6, "both"), Box((20, 20, 29, 29), 13, "both"))
    result = Segmenter(BrightPredictor()).segment(volume(truth), *boxes)
    assert len(result.segments) == 1
    np.testing.assert_array_equal(result["both"], truth)


def test_batches_do_not_change_the_result_and_the_cache_is_bounded() -> None:
    from promptseg.inference.embedded import EmbeddedImage
    from promptseg.intensity import choose_intensity

    truth = ball(SHAPE, CENTRE, 7)
    results = []
    for batch in (1, 4):
        predictor = BrightPredictor()
        result = Segmenter(predictor).segment(
            volume(truth), box_on(truth, 10, "z", "ball"), batch=batch, min_iou=0
        )
        results.append(result["ball"])
        assert max(predictor.batches) == batch
    np.testing.assert_array_equal(*results)

    image = volume(truth)
    predictor = BrightPredictor()
    one_slice = SHAPE[1] * SHAPE[2]
    stack = EmbeddedImage(
        image, "z", choose_intensity(image), predictor, 1, cache_bytes=3 * one_slice
    )
    for index in (0, 1, 2, 3, 0):
        stack.embedding(index)
    assert len(predictor.encoded) == 5  # slice 0 was dropped and encoded again
    assert len(stack._cache) == 3


def test_a_click_is_refused_by_a_box_model_and_forced_on_request() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    click = Points(((24, 20),), (1,), 10, "ball")
    segmenter = Segmenter(BrightPredictor())
    with pytest.raises(
        UnsupportedPromptError, match=r"got a point; use --model promptseg-lite.*--force"
    ):
        segmenter.segment(volume(truth), click)
    result = segmenter.segment(volume(truth), click, force=True, propagate="none", window="200/100")
    assert result["ball"].sum() >= truth[10].sum()


def test_prompts_outside_or_missing_are_refused() -> None:
    image = volume(ball(SHAPE, CENTRE, 5))
    segmenter = Segmenter(BrightPredictor())
    with pytest.raises(PromptError, match="at least one prompt"):
        segmenter.segment(image)
    with pytest.raises(PromptError, match="a slice from 0 to 19"):
        segmenter.segment(image, Box((1, 1, 5, 5), 20))
    with pytest.raises(PromptError, match="a slice for a box in a volume of 20 slices"):
        segmenter.segment(image, Box((1, 1, 5, 5)))
    with pytest.raises(PromptError, match=r"inside the image \(x 0..47, y 0..39\)"):
        segmenter.segment(image, Box((1, 1, 48, 5), 3))


def test_an_object_that_is_not_there_is_empty_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    image = volume(ball(SHAPE, CENTRE, 5))
    result = Segmenter(BrightPredictor()).segment(image, Box((40, 30, 45, 35), 3, "none"))
    assert result.segments[0].is_empty
    assert result.provenance.objects[0].measurements["voxels"] == 0
    assert "nothing was found for 'none'" in caplog.text


def test_grown_box_stays_inside() -> None:
    half = PropagationRule(margin=0.5)
    assert grown_box((2, 2, 5, 5), half, (10, 8)) == (0, 0, 7, 7)
    assert grown_box((2, 2, 5, 5), half, (10, 8), (2, 1, 6, 9)) == (2, 1, 6, 7)
    assert grown_box((0, 0, 0, 0), half, (1, 1)) == (0, 0, 0, 0)
    assert grown_box((2, 2, 5, 5), PropagationRule(margin_pixels=1), (10, 8)) == (1, 1, 6, 6)


def test_provenance_names_everything_that_made_the_result() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    result = Segmenter(BrightPredictor()).segment(
        volume(truth), box_on(truth, 10, "z", "ball"), window="lung", fill_holes=True
    )
    facts = result.provenance
    assert facts.options["fill_holes"] is True
    assert facts.intensity.rule == "window 1500/-600 (clinical)"
    assert facts.prompts["objects"][0]["name"] == "ball"
    assert facts.model.weights_sha256 == "0" * 64
    assert facts.objects[0].measurements["volume_ml"] == pytest.approx(
        result["ball"].sum() * 4.5 / 1000, abs=1e-4
    )
    assert facts.notice == "research software, not a medical device"


def test_a_prompted_slice_is_answered_by_its_own_prompts() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[2:18, 5:35, 5:35] = True
    predictor = BrightPredictor()
    boxes = (Box((5, 5, 30, 30), 4, "part"), Box((5, 5, 9, 9), 14, "part"))
    found = Segmenter(predictor).segment(
        volume(truth), *boxes, margin=0, margin_pixels=0, min_area=0, min_iou=0
    )["part"]
    assert found[14].sum() == 25
    assert found[4].sum() == 26 * 26
    np.testing.assert_array_equal(found[10], found[4])  # in between, the union
    # two seeds; from 4 up to 13 and down to the empty slice 1; from 14 down to 5 and up to 18
    assert len(predictor.boxes) == 2 + 9 + 3 + 9 + 4


def test_clicks_beside_the_object_alone_do_not_start_one() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    box = box_on(truth, 10, "z", "ball")
    beside = Points(((24, 20),), (0,), 12, "ball")
    with pytest.raises(PromptError, match="a click inside 'ball' on slice 12, got clicks outside"):
        Segmenter(BrightPredictor()).segment(volume(truth), box, beside, force=True)


def test_the_axis_of_the_run_holds_for_prompts_without_one() -> None:
    truth = ball(SHAPE, CENTRE, 6)
    found = box_on(truth, 20, "y")
    result = Segmenter(BrightPredictor()).segment(
        volume(truth), Box(found.xyxy, 20, "ball"), axis="y", min_iou=0, min_area=0
    )
    np.testing.assert_array_equal(result["ball"], truth)
    assert result.provenance.prompts["axis"] == "y"
    own = Segmenter(BrightPredictor()).segment(volume(truth), found, min_iou=0, min_area=0)
    assert own.provenance.options["axis"] == "y"
    mixed = (found, box_on(truth, 10, "z"))
    with pytest.raises(PromptError, match="slices of one axis"):
        Segmenter(BrightPredictor()).segment(volume(truth), *mixed)


@pytest.mark.parametrize(("axis", "pixel"), [("z", (1, 1.5)), ("y", (1, 3)), ("x", (1.5, 3))])
def test_the_model_is_told_the_true_shape_of_pixels(axis: Axis, pixel: tuple[float, float]) -> None:
    truth = ball(SHAPE, CENTRE, 5)
    predictor = BrightPredictor()
    box = box_on(truth, CENTRE[AXES.index(axis)], axis)
    Segmenter(predictor).segment(volume(truth), box, propagate="none")
    assert predictor.pixels == [pytest.approx(pixel)]


def test_margins_are_equal_in_millimetres() -> None:
    rule = PropagationRule(margin_pixels=2)
    assert grown_box((10, 10, 20, 20), rule, (40, 40), None, (1, 4)) == (8, 9.5, 22, 20.5)


def test_a_second_prompt_on_the_same_image_encodes_nothing_again() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    image, predictor = volume(truth), BrightPredictor()
    segmenter = Segmenter(predictor)
    first = segmenter.segment(image, box_on(truth, 10, "z"))
    encoded = len(predictor.encoded)
    second = segmenter.segment(image, box_on(truth, 10, "z"))
    assert len(predictor.encoded) == encoded
    assert second.provenance.timings["slices_encoded"] == 0
    assert first.provenance.timings["slices_encoded"] == encoded
    segmenter.segment(image, box_on(truth, 10, "z"), window="lung")
    assert len(predictor.encoded) > encoded


def test_notes_do_not_multiply() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    image = volume(truth)
    image.modality = "unknown"
    segmenter = Segmenter(BrightPredictor(level=60))
    notes = [segmenter.segment(image, box_on(truth, 10, "z")).provenance.notes for _ in range(3)]
    assert [len(n) for n in notes] == [1, 1, 1]
    assert image.source.notes == []


def test_quality_speaks_only_of_slices_with_a_mask() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    box = box_on(truth, 10, "z", "ball")
    result = Segmenter(BrightPredictor()).segment(volume(truth), box, smooth_slices=3)
    segment = result.segments[0]
    occupied = np.flatnonzero(result["ball"].any((1, 2)))
    assert sorted(segment.quality) == list(occupied)
    empty = Segmenter(BrightPredictor()).segment(volume(truth), Box((40, 30, 45, 35), 3))
    assert empty.segments[0].predicted_iou is None


def test_an_object_the_model_doubts_is_flagged(caplog: pytest.LogCaptureFixture) -> None:
    truth = ball(SHAPE, CENTRE, 5)
    predictor = BrightPredictor()  # says 0.9 of every mask
    box = box_on(truth, 10, "z", "ball")
    for threshold, doubtful in ((0.85, False), (0.95, True)):
        predictor.card = dataclasses.replace(predictor.card, low_quality=threshold)
        caplog.clear()
        result = Segmenter(predictor).segment(volume(truth), box)
        assert result.segments[0].doubtful is doubtful
        assert result.provenance.objects[0].low_confidence is doubtful
        assert ("low confidence in 'ball'" in caplog.text) is doubtful


def test_a_model_that_gives_no_chance_at_all_is_doubted() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    predictor = BrightPredictor()
    decode = predictor.decode

    def hopeless(*arguments: Any, **prompt: Any) -> Prediction:
        return dataclasses.replace(decode(*arguments, **prompt), iou=np.zeros(1, np.float32))

    predictor.decode = hopeless  # type: ignore[method-assign]
    segment = Segmenter(predictor).segment(volume(truth), box_on(truth, 10, "z")).segments[0]
    assert segment.predicted_iou == 0
    assert segment.doubtful


def test_progress_of_a_run_that_failed_is_not_told_to_the_next() -> None:
    truth = ball(SHAPE, CENTRE, 5)
    image, predictor = volume(truth), BrightPredictor()
    segmenter = Segmenter(predictor)
    told = []

    def stop(done: int, name: str) -> None:
        told.append(done)
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        segmenter.segment(image, box_on(truth, 10, "z"), progress=stop)
    segmenter.segment(image, box_on(truth, 8, "z"))
    assert told == [1]
