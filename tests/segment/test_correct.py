"""Corrections of masks that exist, with a predictor whose masks are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from fakes import BrightPredictor, ball
from formats.helpers import ORTHOGONAL, corner_mask, segmentation_of, write_dicom_series
from promptseg import read
from promptseg.errors import PromptError, UnsupportedPromptError
from promptseg.geometry import Geometry
from promptseg.image import FoundByWords, Image, Segment, Segmentation
from promptseg.jobs.existing import read_segmentation
from promptseg.prompts import Box, Box3D, Mask, Points, box_of_mask
from promptseg.segment.provenance import object_facts
from promptseg.segment.segmenter import Segmenter

SHAPE = (20, 40, 48)
CENTRE = (10, 20, 24)
FREE = {"min_iou": 0, "min_area": 0, "max_growth": 100, "propagate": "box"}


def volume(mask: np.ndarray) -> Image:
    values = np.where(mask, 200, 0).astype(np.uint8)
    values[0, 0, 0] = 255
    return Image(values, Geometry.from_spacing(mask.shape, (1.0, 1.5, 3.0)), "CT")


def existing(image: Image, **masks: np.ndarray) -> Segmentation:
    segments = [Segment.from_mask(n, k, m) for k, (n, m) in enumerate(masks.items(), 1)]
    return Segmentation(segments, image.geometry, image.source, image=image)


def segmenter(card: str = "mobile-sam") -> tuple[Segmenter, BrightPredictor]:
    predictor = BrightPredictor(card=card)
    return Segmenter(predictor), predictor


def test_a_drawn_mask_spreads_until_the_slices_agree() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    wrong = truth.copy()
    wrong[9:12] = ball(SHAPE, (10, 20, 20), 3)[9:12]  # three slices went astray
    image = volume(truth)
    seg, predictor = segmenter("lite-medsam")
    drawn = Mask(truth[10], 10, "ball", "z", as_drawn=True)
    fixed = seg.correct(image, existing(image, ball=wrong), drawn, **FREE)
    np.testing.assert_array_equal(fixed["ball"], truth)
    assert len(predictor.encoded) == 4  # slices 9 and 11, and the two that agreed
    assert fixed.segments[0].prompted == (10,)


def test_only_the_named_object_changes_and_the_old_segmentation_is_left_alone() -> None:
    truth = ball(SHAPE, (10, 20, 12), 5)
    other = ball(SHAPE, (10, 20, 36), 5)
    image = volume(truth | other)
    before = existing(image, a=truth & (np.indices(SHAPE)[0] != 10), b=other)
    snapshot = before.sha256()
    seg, _ = segmenter()
    box = Box((7, 15, 17, 25), 10, "a")
    after = seg.correct(image, before, box, propagate="none")
    np.testing.assert_array_equal(after["a"], truth)
    assert after.segments[1] is before.segments[1]
    assert before.sha256() == snapshot
    assert [s.label for s in after.segments] == [1, 2]


def test_a_click_outside_takes_a_part_away_and_one_inside_adds_one() -> None:
    truth = ball(SHAPE, (10, 20, 12), 5)
    leak = ball(SHAPE, (10, 20, 36), 4)
    image = volume(truth | leak)
    seg, predictor = segmenter()
    both = existing(image, a=truth | leak)
    less = seg.correct(image, both, Points(((36, 20),), (0,), 10, "a"), propagate="none")
    np.testing.assert_array_equal(less["a"][10], truth[10])
    np.testing.assert_array_equal(less["a"][9], (truth | leak)[9])
    more = seg.correct(
        image, existing(image, a=truth), Points(((36, 20),), (1,), 10), propagate="none"
    )
    np.testing.assert_array_equal(more["a"][10], (truth | leak)[10])
    assert predictor.asked == [{"box", "point", "mask"}] * 2


def test_slices_the_user_settled_are_not_touched() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[2:18, 5:35, 5:35] = True
    image = volume(truth)
    before = existing(image, a=truth.copy())
    before.segments[0].prompted = (5,)
    before.segments[0].crop[:] = False  # nothing agrees, so that the change goes as far as it may
    before.segments[0].crop[:, :2] = True
    seg, _ = segmenter("lite-medsam")
    drawn = Mask(truth[11], 11, "a", "z", as_drawn=True)
    after = seg.correct(image, before, drawn, **FREE)
    changed = (after["a"] != before["a"]).any((1, 2))
    assert list(np.flatnonzero(changed)) == list(range(9, 18))  # half-way to slice 5 is 8
    assert after.segments[0].prompted == (5, 11)


def test_an_empty_drawn_mask_clears_its_slice_alone() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    seg, predictor = segmenter("lite-medsam")
    none = Mask(np.zeros(SHAPE[1:], dtype=bool), 4, "ball", as_drawn=True)
    after = seg.correct(image, existing(image, ball=truth), none, **FREE)
    assert not after["ball"][4].any()
    assert (after["ball"] != truth).any((1, 2)).sum() == 1
    assert predictor.encoded == []


def test_an_empty_drawn_mask_ends_an_object_that_is_settled_on_the_other_side() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    before = existing(image, ball=truth)
    before.segments[0].prompted = (8,)
    seg, _ = segmenter("lite-medsam")
    none = Mask(np.zeros(SHAPE[1:], dtype=bool), 12, "ball", as_drawn=True)
    after = seg.correct(image, before, none, **FREE)
    assert list(np.flatnonzero(after["ball"].any((1, 2)))) == list(range(3, 12))
    both = Mask(truth[16], 16, "ball", as_drawn=True)
    held = seg.correct(image, before, none, both, **FREE)
    assert list(np.flatnonzero(held["ball"].any((1, 2)))) == [*range(3, 12), *range(13, 18)]


def test_a_correction_where_there_was_nothing_extends_the_object() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    short = truth.copy()
    short[13:] = False
    image = volume(truth)
    seg, _ = segmenter("lite-medsam")
    box = box_of_mask(truth[15])
    assert box is not None
    after = seg.correct(image, existing(image, ball=short), Box(box, 15, "ball"), **FREE)
    np.testing.assert_array_equal(after["ball"], truth)


def test_a_picture_is_corrected_too() -> None:
    truth = ball(SHAPE, CENTRE, 7)[10]
    pixels = np.where(truth, 200, 0).astype(np.uint8)
    pixels[0, 0] = 255
    image = Image(pixels, Geometry.pixels(pixels.shape), "US")
    seg, _ = segmenter()
    before = existing(image, a=truth & (np.indices(truth.shape)[1] < 24))
    after = seg.correct(image, before, Points(((28, 20),), (1,)))
    np.testing.assert_array_equal(after["a"], truth)


def test_corrections_say_what_they_corrected() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    seg, _ = segmenter()
    first = seg.segment(image, Box((16, 12, 32, 28), 10, "ball"))
    second = seg.correct(image, first, Points(((24, 20),), (1,), 12, "ball"))
    assert second.provenance.corrects.prompts == first.provenance.prompts
    assert second.provenance.objects[0].prompted_slices == (10, 12)


def test_corrections_that_do_not_fit_are_refused() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    before = existing(image, ball=truth)
    seg, predictor = segmenter()
    box = (18, 14, 30, 26)
    cases = [
        (Box(box, 10, "bull"), "a correction of ball, got one of 'bull'"),
        (Box3D((18, 14, 4, 30, 26, 9), "ball"), "boxes, clicks and masks on slices as corrections"),
        (Points(((3, 3),), (0,), 1, "ball"), "where it has no mask, got clicks outside it alone"),
        (Points(((60, 3),), (0,), 10, "ball"), "inside the image"),
        (Mask(truth[:, 0], 10, "ball"), "on the image's own grid"),
    ]
    for prompt, message in cases:
        with pytest.raises(PromptError, match=message):
            seg.correct(image, before, prompt)
    two = existing(image, a=truth, b=truth)
    with pytest.raises(PromptError, match="got one without a name"):
        seg.correct(image, two, Box(box, 10))
    moved = dataclasses.replace(
        before, geometry=Geometry.from_spacing(SHAPE, (1.0, 1.5, 3.0), (5, 0, 0))
    )
    with pytest.raises(PromptError, match="on the image's own grid"):
        seg.correct(image, moved, Box(box, 10))
    box_only, _ = segmenter("lite-medsam")
    with pytest.raises(UnsupportedPromptError, match="promptseg-lite"):
        box_only.correct(image, before, Points(((24, 20),), (0,), 10))
    assert len(predictor.encoded) <= 1


def test_clicks_come_with_the_box_of_a_mask_that_clicks_have_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    seg, predictor = segmenter()
    seen = []
    decode = predictor.decode

    def spy(embedding, prompts):  # type: ignore[no-untyped-def]
        seen.extend((p.box, (p.xy, p.labels)) for p in prompts)
        return decode(embedding, prompts)

    monkeypatch.setattr(predictor, "decode", spy)
    x0, y0, x1, y1 = box_of_mask(truth[10])
    for xy, label in (((24, 20), 1), ((36, 20), 1), ((40, 30), 0), ((24, 20), 0)):
        click = Points((xy,), (label,), 10, "ball")
        seg.correct(image, existing(image, ball=truth), click, propagate="none")
    assert [points for _, points in seen] == [
        (((24, 20),), (1,)),
        (((36, 20),), (1,)),
        (((40, 30),), (0,)),
        (((24, 20),), (0,)),
    ]
    box = (x0, y0, x1, y1)
    assert [boxes for boxes, _ in seen] == [box, (x0, y0, 36, y1), box, box]
    seen.clear()
    clicked = seg.segment(image, Points(((24, 20),), (1,), 10, "ball"), propagate="none")
    assert clicked.segments[0].clicked == (10,)
    again = seg.correct(image, clicked, Points(((30, 20),), (1,), 10, "ball"), propagate="none")
    assert again.segments[0].clicked == (10,)
    drawn = Mask(truth[10], 10, "ball", as_drawn=True)
    assert seg.correct(image, again, drawn, propagate="none").segments[0].clicked == ()
    assert [boxes for boxes, _ in seen] == [None, None]


def test_a_neighbour_that_fits_as_well_keeps_its_mask() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    seg, _ = segmenter()
    wrong = truth.copy()
    wrong[10] = False
    wrong[10, 20, 24] = True  # one slice is wrong, its neighbours are the corrected one's equals
    wrong[9] = wrong[11] = truth[10]
    drawn = Mask(truth[10], 10, "ball", as_drawn=True)
    after = seg.correct(image, existing(image, ball=wrong), drawn, **FREE)
    found = after["ball"]
    assert (found[10] == truth[10]).all()
    assert (found[9] == truth[10]).all()
    assert (found[11] == truth[10]).all()


def test_slices_along_another_axis_do_not_count_as_settled() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[2:18, 5:35, 5:35] = True
    seg, _ = segmenter("lite-medsam")
    first = seg.segment(volume(truth), Box((5, 5, 20, 34), 14, "a"), **FREE)
    assert first.segments[0].prompted == (14,)
    drawn = Mask(truth[:, 20], 20, "a", "y", as_drawn=True)
    fixed = seg.correct(first.image, first, drawn, **FREE)  # type: ignore[arg-type]
    assert fixed.segments[0].prompted == (20,)
    np.testing.assert_array_equal(fixed["a"], truth)  # slice 14 along y is no limit
    assert set(fixed.segments[0].quality) == set(range(5, 35))


def test_an_end_is_where_it_is_whatever_the_order_of_the_corrections() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[2:9, 5:35, 5:35] = True
    truth[11:14] = truth[15:18] = truth[5]
    image = volume(truth)
    before = existing(image, a=truth & (np.indices(SHAPE)[0] < 14))
    before.segments[0].prompted = (5,)
    seg, _ = segmenter("lite-medsam")
    end = Mask(np.zeros(SHAPE[1:], bool), 10, "a", as_drawn=True)
    more = Box((5, 5, 34, 34), 16, "a")
    one, other = (seg.correct(image, before, *p, **FREE)["a"] for p in ((end, more), (more, end)))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, truth)  # settled on both sides: a gap, no end


def test_an_end_clears_nothing_beyond_the_slices_of_the_run() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    before = existing(image, ball=truth)
    before.segments[0].prompted = (8,)
    seg, _ = segmenter("lite-medsam")
    none = Mask(np.zeros(SHAPE[1:], dtype=bool), 12, "ball", as_drawn=True)
    after = seg.correct(image, before, none, slices="5:14", **FREE)
    assert list(np.flatnonzero(after["ball"].any((1, 2)))) == [*range(3, 12), 15, 16, 17]


def test_past_the_old_ends_a_correction_goes_as_far_again_as_it_lies_beyond_them() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    short = truth & (np.indices(SHAPE)[0] >= 9)
    seg, _ = segmenter("lite-medsam")

    def first_slice(k: int) -> int:
        box = box_of_mask(truth[k])
        assert box is not None
        after = seg.correct(image, existing(image, ball=short), Box(box, k, "ball"), **FREE)
        return int(np.flatnonzero(after["ball"].any((1, 2)))[0])

    assert [first_slice(k) for k in (10, 9, 8, 7, 6)] == [9, 9, 7, 5, 3]


def test_a_click_on_a_slice_without_a_mask_comes_with_the_nearest_one() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    short = truth & (np.indices(SHAPE)[0] >= 9)
    seg, predictor = segmenter()
    click = Points(((24, 20),), (1,), 7, "ball")
    after = seg.correct(image, existing(image, ball=short), click, propagate="none")
    assert predictor.asked == [{"box", "point", "mask"}]
    assert predictor.boxes == [box_of_mask(truth[9])]
    assert after["ball"][7].any()
    outside = Points(((24, 20),), (0,), 7, "ball")
    with pytest.raises(PromptError, match="where it has no mask"):
        seg.correct(image, existing(image, ball=short), outside)


def test_a_correction_keeps_what_the_file_said_of_its_object(tmp_path: Path) -> None:
    write_dicom_series(tmp_path / "ct", ORTHOGONAL["oblique"])
    image = read(tmp_path / "ct")
    path = segmentation_of(image, {"Lesion 1": corner_mask()}).save(tmp_path / "vendor.dcm")
    theirs = pydicom.dcmread(path)
    item = theirs.SegmentSequence[0]
    code = highdicom.sr.CodedConcept("4147007", "SCT", "Mass")
    item.SegmentedPropertyTypeCodeSequence = [code]
    item.RecommendedDisplayCIELabValue = [40000, 50000, 20000]
    theirs.save_as(path)
    before = read_segmentation(path, image)
    drawn = Mask(~corner_mask()[1], 1, "Lesion 1", "z", as_drawn=True)
    after = segmenter("lite-medsam")[0].correct(image, before, drawn, propagate="none")
    (kept,) = pydicom.dcmread(after.save(tmp_path / "better.dcm")).SegmentSequence
    assert kept.SegmentedPropertyTypeCodeSequence[0].CodeValue == "4147007"
    np.testing.assert_allclose(
        kept.RecommendedDisplayCIELabValue, item.RecommendedDisplayCIELabValue, atol=700
    )  # 8 bits a colour
    assert after.sha256() != before.sha256()


@pytest.mark.parametrize("ending", ["nii.gz", "seg.nrrd", "npz", "dcm", "rtstruct.dcm"])
def test_words_that_found_an_object_are_there_after_a_correction_of_its_file(
    tmp_path: Path, ending: str
) -> None:
    write_dicom_series(tmp_path / "ct", ORTHOGONAL["oblique"])
    image = read(tmp_path / "ct")
    words = FoundByWords(
        "LV cavity", 0.75, {0: 0.5, 1: 0.75}, {1: 1.0}, "87878005", "Left ventricle"
    )
    masks = segmentation_of(image, {"A": corner_mask(), "B": ~corner_mask()})
    masks.segments[0].words = words
    masks.provenance = dataclasses.replace(masks.provenance, objects=object_facts(masks))
    before = read_segmentation(masks.save(tmp_path / f"a.{ending}"), image)
    drawn = Mask(~corner_mask()[1], 1, "A", "z", as_drawn=True)
    seg, _ = segmenter("lite-medsam")
    after = seg.correct(image, before, drawn, propagate="none")
    assert [s.words for s in after.segments] == [words, None]
    said = pydicom.dcmread(after.save(tmp_path / "b.dcm")).SegmentSequence[0]
    assert said.SegmentedPropertyTypeCodeSequence[0].CodeValue == "87878005"
    assert after.provenance.objects is not None
    assert after.provenance.objects[0].words == words.to_json()


def test_scores_of_words_along_another_axis_are_dropped() -> None:
    truth = ball(SHAPE, CENTRE, 7)
    image = volume(truth)
    seg, _ = segmenter()
    before = existing(image, ball=truth)
    before.segments[0].words = FoundByWords("ball", 0.9, {10: 0.9})
    before.provenance = dataclasses.replace(before.provenance, options={"axis": "z"})
    drawn = Mask(truth[:, 20], 20, "ball", "y", as_drawn=True)
    (one,) = seg.correct(image, before, drawn, propagate="none").segments
    assert one.words == FoundByWords("ball", 0.9, {})
