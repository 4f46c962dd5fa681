"""Objects by words on 2D images, volumes and videos, with a model that knows bright patches by name."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conformance.bright_memory import bright_memory
from conformance.other_kinds import BrightWords
from fakes import BrightPredictor
from promptseg.errors import InputError, PromptError, UnsupportedPromptError
from promptseg.geometry import Geometry
from promptseg.image import Image, Segmentation
from promptseg.inference.predictor import Predictor
from promptseg.models.protocol import Instance
from promptseg.prompts import Box, Points, Prompt, Text
from promptseg.segment.linking import Track, chained, gaps, linked, without_duplicates
from promptseg.segment.segmenter import Segmenter


def segmenter_of(model: BrightWords) -> Segmenter:
    return Segmenter(Predictor(model, Path("none.pt"), "0" * 64))


def segment(
    voxels: NDArray[np.uint8], *prompts: Prompt, moving: bool = False, **how: Any
) -> tuple[Segmentation, BrightWords]:
    in_pixels = moving or voxels.ndim == 2
    grid = Geometry.pixels if in_pixels else Geometry.from_spacing
    image = Image(voxels, grid(voxels.shape), "US", video=moving)
    model = BrightWords()
    return segmenter_of(model).segment(image, *prompts, window="minmax", **how), model


def picture() -> NDArray[np.uint8]:
    """A large patch, a small one, and one that is brighter still."""
    values = np.zeros((40, 60), np.uint8)
    values[4:20, 5:25] = 200
    values[30:34, 40:46] = 200
    values[22:28, 10:16] = 255
    return values


def test_all_instances_of_a_phrase_are_one_object() -> None:
    result, model = segment(picture(), Text("bright"))
    assert result.names == {1: "bright"}
    np.testing.assert_array_equal(result["bright"], picture() >= 200)
    (fact,) = result.provenance.objects or ()
    assert fact.words is not None
    assert fact.words["text"] == "bright"
    assert [k for k, _ in fact.words["scores"]] == [0]
    assert 0.9 < fact.words["score"] < 1
    assert fact.predicted_iou is None
    assert (result.provenance.prompts or {})["objects"] == [{"name": "bright", "text": "bright"}]
    assert [p.text for p in model.phrases] == ["bright"]


def test_instances_are_objects_of_their_own_the_surest_first() -> None:
    result, _ = segment(picture(), Text("bright"), instances=True)
    assert list(result.names.values()) == ["bright 1", "bright 2", "bright 3"]
    areas = [int(segment.crop.sum()) for segment in result.segments]
    assert areas == [320, 36, 24]


def test_several_phrases_encode_the_picture_once_and_carry_codes() -> None:
    result, model = segment(
        picture(), Text("Livers"), Text("bright", name="any"), Text("the liver")
    )
    assert model.batches == [1]
    assert list(result.names.values()) == ["Livers", "any", "liver"]
    facts = {fact.name: fact.words for fact in result.provenance.objects or ()}
    assert facts["liver"] is not None
    assert facts["liver"]["code"] == "10200004"
    assert facts["any"] is not None
    assert "code" not in facts["any"]
    np.testing.assert_array_equal(result["liver"], picture() == 255)


def test_nothing_found_is_an_empty_object_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "promptseg"):
        result, _ = segment(picture(), Text("spleen"))
    assert result.segments[0].is_empty
    assert "nothing was found for 'spleen' (highest score 0.00" in caplog.text


def test_a_score_is_a_threshold() -> None:
    result, _ = segment(picture(), Text("bright"), min_score=0.99)
    np.testing.assert_array_equal(result["bright"].sum(), 320)


def test_examples_may_stand_for_words_and_exclude() -> None:
    box, other = Box((5, 4, 24, 19)), Box((40, 30, 45, 33))
    alone, model = segment(picture(), Text("", (box,)))
    assert list(alone.names.values()) == ["like the examples"]
    assert model.phrases[0].boxes == (box.xyxy,)
    result, _ = segment(picture(), Text("bright", outside=(other,)))
    assert not result["bright"][30:34, 40:46].any()
    assert result["bright"].any()


def volume() -> NDArray[np.uint8]:
    """One object on slices 2 to 7, missed on 4; another that begins where the first has ended."""
    values = np.zeros((12, 30, 40), np.uint8)
    for k in (2, 3, 5, 6, 7):
        values[k, 4:20, 5 + k : 22 + k] = 200
    values[8:11, 22:28, 2:9] = 200
    return values


def test_objects_begin_end_and_go_on_over_a_gap_in_a_volume() -> None:
    result, model = segment(volume(), Text("bright"), instances=True)
    assert len(result.segments) == 2
    first, second = (segment.mask(volume().shape) for segment in result.segments)
    assert list(np.flatnonzero(first.any((1, 2)))) == [2, 3, 4, 5, 6, 7]
    assert list(np.flatnonzero(second.any((1, 2)))) == [8, 9, 10]
    np.testing.assert_array_equal(first[[2, 3, 5, 6, 7]], volume()[[2, 3, 5, 6, 7]] >= 200)
    middle = np.zeros((30, 40), bool)
    middle[4:20, 9:26] = True
    assert (first[4] ^ middle).sum() < 0.1 * middle.sum()
    assert sum(model.batches) == 12
    (fact, _) = result.provenance.objects or ()
    assert fact.words is not None
    curve = dict(fact.words["scores"])
    assert list(curve) == list(range(12))
    assert curve[0] == 0 < curve[9] < curve[2]


def missed(between: int) -> NDArray[np.uint8]:
    """An object that words find on slices 2, 3 and 9 to 11; between those it has another brightness."""
    values = np.zeros((14, 30, 40), np.uint8)
    values[2:12, 4:20, 8:25] = between
    values[[2, 3, 9, 10, 11], 4:20, 8:25] = 255
    return values


def test_propagation_links_what_overlap_cannot_and_fills_in_what_was_missed() -> None:
    how = {"instances": True, "propagate": "box", "min_area": 0.0}
    plain, _ = segment(missed(200), Text("liver"), **how)
    assert len(plain.segments) == 2
    (joined,) = segment(missed(200), Text("liver"), link="propagation", **how)[0].segments
    mask = joined.mask((14, 30, 40))
    np.testing.assert_array_equal(mask, missed(200) > 0)
    assert joined.words is not None
    assert joined.words.scores[5] == 0
    apart, _ = segment(missed(0), Text("liver"), link="propagation", **how)
    assert len(apart.segments) == 2


def test_propagation_ends_where_the_object_does_and_fills_short_gaps() -> None:
    values = missed(200)
    values[9:12] = 0  # nothing begins later
    values[5] = values[3]
    values[4, 4:20, 20:25] = 0  # narrower than its neighbours: no mask between them
    result, _ = segment(values, Text("liver"), link="propagation", propagate="box", min_area=0.0)
    found = result["liver"]
    np.testing.assert_array_equal(found[2:6], values[2:6] > 0)
    assert not found[6:].any()


def test_what_a_video_does_not_show_is_not_drawn() -> None:
    result, _ = segment(volume(), Text("bright"), moving=True)
    np.testing.assert_array_equal(result["bright"], volume() >= 200)


def test_propagation_draws_masks_between_in_volumes_alone() -> None:
    values = missed(0)
    values[5], values[9:] = values[3], 0  # and 4 shows nothing that could be propagated to
    how = {"propagate": "box", "link": "propagation"}
    drawn, _ = segment(values, Text("liver"), **how)
    np.testing.assert_array_equal(drawn["liver"][4], values[3] > 0)
    shown, _ = segment(values, Text("liver"), moving=True, **how)
    np.testing.assert_array_equal(shown["liver"], values > 220)


def test_a_link_by_propagation_that_would_not_be_done_is_refused() -> None:
    with pytest.raises(InputError, match=r"which sam3 does not choose.*such as --propagate box"):
        segment(volume(), Text("bright"), link="propagation")
    with pytest.raises(InputError, match="got --propagate none"):
        segment(volume(), Text("bright"), link="propagation", propagate="none")
    words = Predictor(BrightWords(), Path("none.pt"), "0" * 64)
    image = Image(volume(), Geometry.from_spacing(volume().shape), "US")
    with pytest.raises(InputError, match=r"the memory of sam2.1-t links.*leave out sam3"):
        Segmenter(bright_memory(), starter=words).segment(image, Text("bright"), link="propagation")
    segment(picture(), Text("bright"), link="propagation")  # one slice: there is nothing to link


def test_only_some_slices_are_looked_at() -> None:
    result, model = segment(volume(), Text("bright"), slices="5:8")
    assert list(np.flatnonzero(result["bright"].any((1, 2)))) == [5, 6, 7, 8]
    assert len(model.phrases) == 4
    examples, model = segment(volume(), Text("", (Box((10, 4, 26, 19), 5),)))
    assert len(model.phrases) == 1
    assert list(np.flatnonzero(examples.segments[0].mask(volume().shape).any((1, 2)))) == [5]


def test_words_and_pointing_are_not_mixed() -> None:
    with pytest.raises(PromptError, match="both in one run; write boxes around examples"):
        segment(picture(), Text("bright"), Box((1, 1, 4, 4)))
    segmenter = segmenter_of(BrightWords(card="lite-medsam"))
    image = Image(picture(), Geometry.pixels((40, 60)), "US")
    with pytest.raises(UnsupportedPromptError, match="got a text; use --model promptseg-words"):
        segmenter.segment(image, Text("bright"))
    result, _ = segment(picture(), Text("bright"))
    with pytest.raises(PromptError, match="corrections that point at something, got words"):
        segmenter_of(BrightWords()).correct(image, result, Text("bright"))
    with pytest.raises(UnsupportedPromptError):
        segment(picture(), Points(((3.0, 3.0),), (1,)))


def instance(columns: slice, score: float) -> Instance:
    mask = np.zeros((4, 20), bool)
    mask[:, columns] = True
    return Instance(mask, score, (0, 0, 0, 0))


def test_of_duplicates_the_surer_stays() -> None:
    weak, sure, apart = (
        instance(slice(0, 10), 0.6),
        instance(slice(1, 11), 0.9),
        instance(slice(12, 20), 0.7),
    )
    assert without_duplicates([weak, sure, apart], 0.5) == [sure, apart]
    assert len(without_duplicates([weak, sure, apart], 0.9)) == 3
    assert without_duplicates([instance(slice(0, 0), 0.9)], 0.5) == []


def test_neighbours_go_to_the_object_they_agree_with_best() -> None:
    slices = {
        0: [instance(slice(0, 8), 0.9), instance(slice(10, 18), 0.8)],
        1: [instance(slice(9, 17), 0.7), instance(slice(1, 9), 0.6)],
        2: [],
        3: [],
        4: [],
        5: [instance(slice(0, 8), 0.5)],
    }
    tracks = linked(slices, 0.3, gap=2, fill=False)
    assert [sorted(track.scores.values(), reverse=True) for track in tracks] == [
        [0.9, 0.6],
        [0.8, 0.7],
        [0.5],
    ]


def test_what_shares_no_pixel_is_not_one_object_whatever_is_asked() -> None:
    slices = {0: [instance(slice(0, 8), 0.9)], 1: [instance(slice(10, 18), 0.8)]}
    assert len(linked(slices, 0.0, gap=2, fill=True)) == 2
    touching = {0: slices[0], 1: [instance(slice(7, 18), 0.8)]}
    assert len(linked(touching, 0.0, gap=2, fill=True)) == 1


def test_propagation_links_nothing_that_it_does_not_touch_whatever_is_asked() -> None:
    values = missed(200)
    values[9:12, 4:20, 8:25] = 200  # what is propagated arrives there
    values[9:12, 24:29, 30:38] = 255  # and another object begins
    how = {"instances": True, "propagate": "box", "min_area": 0.0, "min_iou": 0.0}
    found, _ = segment(values, Text("liver"), link="propagation", **how)
    assert [int(s.crop.sum()) for s in found.segments] == [3 * 5 * 8, 2 * 16 * 17]


def test_objects_that_go_on_as_others_are_one_the_best_pair_first() -> None:
    tracks = [Track() for _ in range(4)]
    found_on = ((0, 1), 0.9), ((3, 6), 0.5), ((3, 4), 0.7), ((8,), 0.6)
    for track, (on, score) in zip(tracks, found_on, strict=True):
        for k in on:
            track.add(k, instance(slice(k, k + 4), score), fill=False)
    found = chained(tracks, [(0, 1), (2, 3), (0, 2), (1, 3)])
    assert [sorted(track.scores) for track in found] == [[0, 1, 3, 6], [3, 4, 8]]
    assert [gaps(track) for track in found] == [[(1, 3), (3, 6)], [(4, 8)]]
    assert [(track.first, track.last) for track in found] == [(0, 6), (3, 8)]
    assert sorted(tracks[0].scores) == [0, 1]
    assert [sorted(track.scores) for track in chained(tracks[:1], [])] == [[0, 1]]


def moved(dim: range, jump: int = 0) -> NDArray[np.uint8]:
    """A block that moves to the right over 14 slices, dimmed on some, and leaps at one."""
    values = np.full((14, 24, 40), 20, np.uint8)
    for k in range(14):
        start = 2 + k + (8 if jump and k >= jump else 0)
        values[k, 6:14, start : start + 8] = 150 if k in dim else 220
    return values


def remembered(
    values: NDArray[np.uint8], moving: bool = False, memory: bool = True
) -> Segmentation:
    """What words find from 200 on, joined by a memory that sees what is dimmer, too."""
    words = Predictor(BrightWords(200), Path("none.pt"), "0" * 64)
    segmenter = Segmenter(bright_memory(), starter=words) if memory else Segmenter(words)
    grid = (Geometry.pixels if moving else Geometry.from_spacing)(values.shape)
    image = Image(values, grid, "US", video=moving)
    return segmenter.segment(image, Text("bright"), instances=True, window="minmax")


@pytest.mark.parametrize("moving", [False, True])
def test_memory_joins_what_words_missed_for_longer_than_overlap_lasts(moving: bool) -> None:
    values = moved(range(4, 9))
    alone, found = (remembered(values, moving, memory) for memory in (False, True))
    assert len(alone.segments) == 2
    (one,) = found.segments
    np.testing.assert_array_equal(one.mask(values.shape), values >= 150)
    assert one.words is not None
    assert [k for k, score in one.words.scores.items() if score > 0] == [*range(4), *range(9, 14)]
    facts = found.provenance
    assert facts.started_by is not None
    assert (facts.started_by.name, facts.model and facts.model.name) == ("sam3", "sam2.1-t")


def test_memory_fills_short_gaps_of_a_video() -> None:
    values = moved(range(5, 7))
    (alone,), (found,) = (remembered(values, True, memory).segments for memory in (False, True))
    np.testing.assert_array_equal(alone.mask(values.shape), values >= 200)
    np.testing.assert_array_equal(found.mask(values.shape), values >= 150)


def test_memory_joins_nothing_that_it_does_not_find_again() -> None:
    values = moved(range(0))
    values[5:9] = 20  # nothing is there
    assert len(remembered(values).segments) == 2
    assert len(remembered(values, True).segments) == 1  # it may come back, where it was last seen
    values[9:] = moved(range(0), 9)[9:]
    assert len(remembered(values, True).segments) == 2


def test_words_start_nothing_without_a_memory() -> None:
    words = Predictor(BrightWords(), Path("none.pt"), "0" * 64)
    image = Image(volume(), Geometry.from_spacing(volume().shape), "US")
    with pytest.raises(PromptError, match="a model with memory, such as sam3-tracker"):
        Segmenter(BrightPredictor(), starter=words).segment(image, Text("bright"))


@pytest.mark.parametrize(
    ("card", "voxels", "said"),
    [
        (
            "medical-sam3",
            volume(),
            "was trained on 2D images, and this is a volume.*medical-sam3-3d",
        ),
        (
            "medical-sam3-3d",
            picture(),
            "was trained on volumes, and this is a 2D image.*medical-sam3",
        ),
        ("medical-sam3", picture(), ""),
        ("sam3", volume(), ""),
    ],
)
def test_weights_of_another_kind_of_image_are_warned_of(
    card: str, voxels: NDArray[np.uint8], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    in_pixels = voxels.ndim == 2
    grid = (Geometry.pixels if in_pixels else Geometry.from_spacing)(voxels.shape)
    with caplog.at_level(logging.WARNING, "promptseg"):
        segmenter_of(BrightWords(card=card)).segment(Image(voxels, grid, "US"), Text("bright"))
    assert bool(re.search(said or "was trained on", caplog.text)) is bool(said)
