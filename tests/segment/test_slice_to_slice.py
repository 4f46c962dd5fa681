"""The tracker of one-slice models: the same masks as object by object, and each slice encoded once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import BrightEmbedding, BrightModel, BrightPredictor
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.inference.embedded import EmbeddedImage
from promptseg.intensity import Intensity
from promptseg.models.protocol import ConditioningPrompt, Embedding, SliceMasks, Tracker
from promptseg.prompts import Box, Mask, Points
from promptseg.segment.conditioning import answer_condition
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.slice_to_slice import SliceToSlice, gathered
from promptseg.segment.volume import PropagationRule, advance

AS_IT_IS = Intensity("CT", "unchanged")


@dataclass(frozen=True)
class HeavyEmbedding(BrightEmbedding):
    """As large as a real one."""

    @property
    def nbytes(self) -> int:
        return 4 << 20


class HeavyModel(BrightModel):
    def encode(
        self,
        slices: Sequence[NDArray[np.uint8]],
        pixel: tuple[float, float] = (1, 1),
        parallel: bool = False,
    ) -> list[Embedding]:
        found = super().encode(slices, pixel, parallel)
        return [HeavyEmbedding(e.pixels, e.transform) for e in found]  # type: ignore[attr-defined]


class HeavyPredictor(BrightPredictor):
    def __init__(self) -> None:
        super().__init__(card="mobile-sam")
        self.model = HeavyModel()
        self.encoded = self.model.encoded


def two_columns(slices: int) -> Image:
    voxels = np.zeros((slices, 12, 24), np.uint8)
    voxels[:, 3:9, 3:9] = voxels[:, 3:9, 14:20] = 200
    voxels[:, 0, 0] = np.arange(slices) % 100
    return Image(voxels, Geometry.from_spacing(voxels.shape), "CT")


@pytest.mark.parametrize("starts", [(150, 150), (0, 299), (200, 100), (299, 299)])
def test_two_objects_on_300_slices_take_300_encodings(starts: tuple[int, int]) -> None:
    """However far apart they start: 300 embeddings are more than a stack keeps of its own accord."""
    predictor, image = HeavyPredictor(), two_columns(300)
    boxes = (Box((3, 3, 8, 8), starts[0], "left"), Box((14, 3, 19, 8), starts[1], "right"))
    found = Segmenter(predictor).segment(image, *boxes, propagate="box")
    assert len(predictor.encoded) == 300
    np.testing.assert_array_equal(found["left"] | found["right"], image.voxels == 200)
    assert found.provenance.timings["slices_encoded"] == 300


def test_what_is_held_is_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.inference.embedded._HELD_BYTES", 10 * (4 << 20))
    stack = EmbeddedImage(
        two_columns(30), "z", AS_IT_IS, HeavyPredictor(), cache_bytes=3 * (4 << 20)
    )
    stack.hold(range(30))
    for k in range(30):
        stack.embedding(k)
    assert stack.cached == list(range(20, 30))
    stack.hold(())
    assert stack.cached == [27, 28, 29]


def one_by_one(
    stack: EmbeddedImage,
    conditions: Sequence[ConditioningPrompt],
    rule: PropagationRule | None,
    objects: int,
) -> list[SliceMasks]:
    """The union over an object's conditions, each followed to either side by itself."""
    found = [SliceMasks() for _ in range(objects)]
    for condition in conditions:
        first = answer_condition(stack, condition)
        found[condition.object].add(condition.slice, first)
        for step, end in ((1, condition.reach[1]), (-1, condition.reach[0])):
            answer = first
            for k in range(condition.slice + step, end + step, step) if rule else ():
                assert rule is not None
                following = advance(stack, answer, k, end, rule, condition.bounds)
                if following is None or not rule.continues(
                    int(first.mask.sum()), answer.mask, following.mask, following.iou
                ):
                    break
                found[condition.object].add(k, following)
                answer = following
    return found


def conditions_of(draw: Any) -> ConditioningPrompt:
    k = draw(st.integers(0, 9))
    x, y = draw(st.integers(0, 15)), draw(st.integers(0, 7))
    box, points, mask = Box((x, y, x + 8, y + 4), k), None, None
    kind = draw(st.sampled_from(["box", "click", "drawn"]))
    if kind == "click":
        points = Points(((x + 2, y + 2),), (1,), k)
    if kind == "drawn":
        pixels = np.zeros((12, 24), bool)
        pixels[y : y + 4, x : x + 8] = True
        mask = Mask(pixels, k, as_drawn=True)
    first, last = draw(st.integers(0, k)), draw(st.integers(k, 9))
    bounds = (x, y, x + 8, y + 4) if draw(st.booleans()) else None
    given = None if kind == "drawn" else box
    return ConditioningPrompt(
        k, given, points, mask, (first, last), bounds, object=draw(st.integers(0, 2))
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_objects_are_what_they_are_alone_in_whatever_order(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    voxels = np.where(rng.random((10, 12, 24)) < 0.7, 200, 0).astype(np.uint8)
    image = Image(voxels, Geometry.from_spacing(voxels.shape), "CT")
    conditions = [conditions_of(data.draw) for _ in range(data.draw(st.integers(1, 5)))]
    rule = PropagationRule(data.draw(st.sampled_from(["box", "box+mask", "points"])), 0.1, 1, 0.2)
    rule_or_none = data.draw(st.sampled_from([rule, rule, None]))
    stacks = [EmbeddedImage(image, "z", AS_IT_IS, BrightPredictor()) for _ in range(3)]
    tracker: Tracker = SliceToSlice(rule_or_none)
    expected = one_by_one(stacks[0], conditions, rule_or_none, 3)
    found = gathered(tracker.track(stacks[1], conditions), 3)
    mixed = data.draw(st.permutations(conditions))
    again = gathered(tracker.track(stacks[2], mixed), 3)
    for one, other, third in zip(expected, found, again, strict=True):
        for each in (other, third):
            assert each.masks.keys() == one.masks.keys()
            assert all(np.array_equal(each.masks[k], one.masks[k]) for k in one.masks)
            assert each.quality == one.quality
    visited = {k for each in found for k in each.masks}
    encoded = stacks[1].predictor.model.encoded  # type: ignore[attr-defined]
    assert len(encoded) == stacks[1].encoded <= 10
    assert visited <= set(stacks[1].cached) | {c.slice for c in conditions if c.mask}


def test_the_object_at_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, str]] = []
    boxes = (Box((3, 3, 8, 8), 2, "left"), Box((14, 3, 19, 8), 4, "right"))
    Segmenter(BrightPredictor()).segment(
        two_columns(6), *boxes, progress=lambda done, name: told.append((done, name))
    )
    assert [done for done, _ in told] == [1, 2, 3, 4, 5, 6]
    assert {name for _, name in told} <= {"left", "right"}


@pytest.mark.parametrize("mode", ["box", "box+mask"])
def test_a_run_that_was_put_aside_goes_on_as_if_it_had_not_been(mode: str) -> None:
    """At every frame the state goes through bytes into another tracker, which does the rest."""
    image = two_columns(20)
    rule = PropagationRule(mode, margin_pixels=1, min_area=0.3)
    conditions = [
        ConditioningPrompt(7, box=Box((2, 2, 9, 9), 7), reach=(2, 16)),
        ConditioningPrompt(11, box=Box((13, 2, 20, 9), 11), reach=(0, 19), object=1),
        ConditioningPrompt(
            4, mask=Mask(image.voxels[4] > 100, 4, as_drawn=True), reach=(3, 5), object=1
        ),
    ]

    def frames() -> Any:
        return EmbeddedImage(image, "z", AS_IT_IS, BrightPredictor(card="mobile-sam")).visit()

    def told(found: Any) -> list[tuple[int, int, bytes, float]]:
        return [(t.frame, t.object, t.answer.mask.tobytes(), t.answer.iou) for t in found]

    tracker = SliceToSlice(rule)
    whole = [told(found) for found in tracker.begin(frames(), conditions)]
    assert told(tracker.track(frames(), conditions)) == [one for each in whole for one in each]
    assert len(whole) == 30
    for stop in range(len(whole) + 1):
        first = tracker.begin(frames(), conditions)
        done = [told(next(first)) for _ in range(stop)]
        content = io.BytesIO()
        np.savez(content, **first.state())
        with np.load(io.BytesIO(content.getvalue()), allow_pickle=False) as state:
            rest = tracker.begin(frames(), conditions, since={k: state[k] for k in state.files})
            done += [told(found) for found in rest]
        assert done == whole
