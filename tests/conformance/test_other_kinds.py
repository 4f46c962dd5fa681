"""What trackers, readers of words and semantic models must do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from conformance.bright_memory import bright_memory
from conformance.other_kinds import BrightClasses, BrightWords
from fakes import BrightPredictor
from promptseg.errors import PromptError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.predictor import Predictor
from promptseg.intensity import Intensity
from promptseg.models.protocol import (
    ConditioningPrompt,
    Correction,
    Phrase,
    Remembering,
    SemanticModel,
    SliceMasks,
    SliceModel,
    Tracker,
    WordModel,
)
from promptseg.prompts import Box, Mask, ObjectPrompts
from promptseg.segment.slice_to_slice import SliceToSlice, gathered
from promptseg.segment.volume import PropagationRule
from promptseg.segment.with_memory import WithMemory


@dataclass(frozen=True)
class Case:
    """A tracker, and frames with two objects it can follow."""

    tracker: Tracker
    frames: EmbeddedImage
    truth: tuple[np.ndarray, np.ndarray]


@pytest.fixture(params=["box", "box+mask", "points", "memory"])
def case(request: pytest.FixtureRequest) -> Case:
    voxels = np.zeros((8, 24, 40), np.uint8)
    voxels[1:7, 4:14, 4:14] = voxels[2:8, 6:18, 22:34] = 200
    left, right = (voxels == 200, voxels == 200)
    left[:, :, 18:] = right[:, :, :18] = False
    image = Image(voxels, Geometry.from_spacing(voxels.shape), "CT")
    rule = PropagationRule(request.param, margin=0.1)
    predictor: Predictor = BrightPredictor(card="mobile-sam")
    tracker: Tracker = SliceToSlice(rule)
    if request.param == "memory":
        predictor = bright_memory()
        assert isinstance(predictor.model, Remembering)
        tracker = WithMemory(predictor.model, rule)
    frames = EmbeddedImage(image, "z", Intensity("CT", "unchanged"), predictor)
    return Case(tracker, frames, (left, right))


def boxes(case: Case, starts: tuple[int, int] = (3, 5)) -> list[ConditioningPrompt]:
    sides = ((4, 4, 13, 13), (22, 6, 33, 17))
    return [
        ConditioningPrompt(k, box=Box(side, k), reach=(0, 7), object=n)
        for n, (k, side) in enumerate(zip(starts, sides, strict=True))
    ]


def found(case: Case, conditions: list[ConditioningPrompt], objects: int = 2) -> list[np.ndarray]:
    stacks = []
    for one in gathered(case.tracker.track(case.frames, conditions), objects):
        stack = np.zeros(case.frames.image.geometry.shape, dtype=bool)
        for k, mask in one.masks.items():
            stack[k] = mask
        stacks.append(stack)
    return stacks


def test_trackers_follow_several_objects_at_once_and_encode_each_frame_once(case: Case) -> None:
    assert isinstance(case.tracker, Tracker)
    for one, truth in zip(found(case, boxes(case)), case.truth, strict=True):
        np.testing.assert_array_equal(one, truth)
    assert case.frames.encoded <= len(case.frames)


@pytest.mark.parametrize("starts", [(1, 7), (6, 2), (4, 4)])
def test_trackers_take_conditions_on_any_frame_in_any_order(
    case: Case, starts: tuple[int, int]
) -> None:
    conditions = boxes(case, starts)
    for order in (conditions, conditions[::-1]):
        for one, truth in zip(found(case, order), case.truth, strict=True):
            np.testing.assert_array_equal(one, truth)


def test_trackers_keep_within_reach_and_bounds(case: Case) -> None:
    near = ConditioningPrompt(4, box=Box((4, 4, 13, 13), 4), reach=(3, 5), bounds=(4, 4, 9, 13))
    (one,) = found(case, [near], 1)
    assert list(np.flatnonzero(one.any((1, 2)))) == [3, 4, 5]
    assert not one[:, :, 10:].any()


def test_trackers_leave_a_drawn_mask_as_it_is_and_track_nothing_for_nothing(case: Case) -> None:
    drawn = np.zeros((24, 40), dtype=bool)
    drawn[5:12, 5:12] = True
    mask = ConditioningPrompt(4, mask=Mask(drawn, 4, as_drawn=True), reach=(0, 7))
    np.testing.assert_array_equal(found(case, [mask], 1)[0][4], drawn)
    assert list(case.tracker.track(case.frames, [])) == []


def test_trackers_say_which_object_is_at_work(case: Case) -> None:
    told: list[int] = []
    list(case.tracker.track(case.frames, boxes(case), told.append))
    assert set(told) == {0, 1}


def test_trackers_correct_one_object_and_leave_settled_frames(case: Case) -> None:
    left, _ = case.truth
    before = SliceMasks(
        {k: np.roll(left[k], 3, 0) for k in range(1, 7)}, dict.fromkeys(range(8), 0.5)
    )
    prompts = ObjectPrompts("left", masks=[Mask(left[4], 4, "left", as_drawn=True)])
    asked = Correction(prompts, before, prompted=(1,), clicked=(), limits=(0, 7))
    after = case.tracker.correct(case.frames, asked)
    np.testing.assert_array_equal(after.masks[4], left[4])
    np.testing.assert_array_equal(after.masks[5], left[5])
    np.testing.assert_array_equal(after.masks[1], before.masks[1])
    assert before.masks[4] is not after.masks[4]


@pytest.mark.parametrize(("phrase", "count"), [("bright", 2), ("liver", 0)])
def test_words_give_none_one_or_many_instances(phrase: str, count: int) -> None:
    model = BrightWords()
    assert isinstance(model, WordModel)
    assert isinstance(model, SliceModel)
    picture = np.zeros((20, 30), np.uint8)
    picture[2:6, 2:6] = picture[10:18, 12:25] = 200
    (embedding,) = model.encode([picture])
    (findings,) = model.find(embedding, [Phrase(phrase)])
    instances = findings.instances
    assert len(instances) == count
    assert findings.best == max((i.score for i in instances), default=0.0)
    assert [i.score for i in instances] == sorted((i.score for i in instances), reverse=True)
    for instance in instances:
        assert instance.mask.shape == picture.shape
        assert instance.mask.dtype == np.bool_
        assert 0 <= instance.score <= 1
    assert len(model.find(embedding, [Phrase(phrase)], at_least=0.98)[0].instances) == min(count, 1)
    both = model.find(embedding, [Phrase(phrase), Phrase("bright")])
    assert [len(each.instances) for each in both] == [count, 2]
    with pytest.raises(PromptError, match="a phrase"):
        model.find(embedding, [Phrase(" ")])


@pytest.mark.parametrize("shape", [(16, 24), (4, 16, 24)])
def test_semantic_models_give_logits_of_every_class(shape: tuple[int, ...]) -> None:
    model = BrightClasses(*shape)
    assert isinstance(model, SemanticModel)
    patches = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    logits = model.classify(patches)
    assert logits.shape == (3, 1 + len(model.classes), *shape)
    assert logits.dtype == torch.float32
    assert torch.equal(model.classify(patches[1:2])[0], logits[1])
    assert len(model.classify(patches[:0])) == 0
