"""Where simulated users click, and what they hand to the model in every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fakes import BrightPredictor
from promptseg.errors import InputError, UnsupportedPromptError
from promptseg.models.cards import CARDS
from promptseg.models.protocol import Embedding, Prediction, SlicePrompt
from promptseg.simulate import (
    Click,
    Round,
    correction_clicks,
    first_click,
    first_prompt,
    interactive_rounds,
)
from promptseg.simulate.first import PromptKind

Mask = NDArray[np.bool_]

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
masks = hnp.arrays(np.bool_, shapes)
pairs = shapes.flatmap(
    lambda shape: st.tuples(hnp.arrays(np.bool_, shape), hnp.arrays(np.bool_, shape))
)


def depth(mask: Mask, x: int, y: int) -> float:
    """Distance to the nearest pixel outside, by looking at all of them, the border included."""
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    return float(np.hypot(*(outside - (y, x)).T).min())


@given(masks.filter(np.any))
def test_the_first_click_is_the_deepest_point(mask: Mask) -> None:
    click = first_click(mask)
    assert mask[click.y, click.x]
    assert click.label == 1
    deepest = max(depth(mask, x, y) for y, x in np.argwhere(mask))
    assert depth(mask, click.x, click.y) == pytest.approx(deepest)


def test_the_border_of_the_slice_counts_as_outside() -> None:
    assert first_click(np.ones((7, 7), dtype=bool)) == Click(3, 3, 1)


def test_of_equally_deep_points_the_first_in_reading_order_is_clicked() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    for y, x in ((10, 2), (3, 20), (3, 10)):
        mask[y : y + 5, x : x + 5] = True
    assert first_click(mask) == Click(12, 5, 1)


def test_a_hole_is_not_clicked() -> None:
    y, x = np.indices((41, 41)) - 20
    ring = (x**2 + y**2 <= 18**2) & (x**2 + y**2 > 10**2)
    click = first_click(ring)
    assert ring[click.y, click.x]


def test_an_empty_mask_cannot_be_clicked() -> None:
    with pytest.raises(InputError, match="an object to click on"):
        first_click(np.zeros((4, 4), dtype=bool))


@pytest.mark.parametrize("seed", [None, 0])
@given(pair=pairs)
def test_corrections_lie_inside_their_error_and_only_where_there_is_one(
    pair: tuple[Mask, Mask], seed: int | None
) -> None:
    truth, prediction = pair
    rng = None if seed is None else np.random.default_rng(seed)
    clicks = correction_clicks(truth, prediction, rng)
    for click in clicks:
        assert truth[click.y, click.x] == bool(click.label)
        assert prediction[click.y, click.x] != bool(click.label)
    labels = [click.label for click in clicks]
    missing, false = (truth & ~prediction).any(), (prediction & ~truth).any()
    assert labels == [1] * bool(missing) + [0] * bool(false)


@given(masks)
def test_a_perfect_prediction_gets_no_clicks(mask: Mask) -> None:
    assert correction_clicks(mask, mask.copy()) == []


def test_a_prediction_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(3, 4\), got \(4, 3\)"):
        correction_clicks(np.ones((3, 4), dtype=bool), np.ones((4, 3), dtype=bool))


def test_random_clicks_follow_their_seed_and_reach_the_whole_region() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:4, 3:6] = True
    draws = [
        [first_click(mask, rng) for _ in range(200)] for rng in map(np.random.default_rng, (1, 1))
    ]
    assert draws[0] == draws[1]
    assert {(c.y, c.x) for c in draws[0]} == {tuple(p) for p in np.argwhere(mask)}


class Scripted(BrightPredictor):
    """Answers the given masks in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self, *answers: Mask, prompts: tuple[str, ...] = ("box", "point", "mask")) -> None:
        super().__init__()
        self.card = replace(CARDS["mobile-sam"], prompts=frozenset(prompts))
        self.answers = answers
        self.asked: list[SlicePrompt] = []  # type: ignore[assignment]
        self.given: list[Prediction] = []

    def decode(  # type: ignore[override]
        self, embedding: Embedding, prompts: Sequence[SlicePrompt]
    ) -> Prediction:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked += prompts
        logits = torch.full((1, 1, 256, 256), float(len(self.asked)))
        quality = np.array([0.1 * len(self.asked)], np.float32)
        self.given.append(Prediction(logits, answer[None], quality))
        return self.given[-1]


def square(first: int, last: int, size: int = 16) -> Mask:
    mask = np.zeros((size, size), dtype=bool)
    mask[first : last + 1, first : last + 1] = True
    return mask


TRUTH = square(4, 10)
EMBEDDING = BrightPredictor().encode([np.zeros((16, 16), np.uint8)])[0]


def rounds_of(
    model: Scripted,
    truth: Mask,
    start: PromptKind = "point",
    rounds: int = 8,
    rng: np.random.Generator | None = None,
) -> list[Round]:
    """The rounds of a user who clicks the deepest points, or any where there is a generator."""
    chance = rng or np.random.default_rng(0)
    first = first_prompt(start, truth, chance, clicking="random" if rng else "deepest")
    return list(interactive_rounds(model, EMBEDDING, truth, first, rounds, rng))


def test_clicks_accumulate_and_the_last_logits_go_in() -> None:
    model = Scripted(square(4, 6), square(2, 12))
    found = rounds_of(model, TRUTH, "point", rounds=3)
    assert [r.iou for r in found] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(found[0].mask, square(4, 6))
    assert [asked.labels for asked in model.asked] == [(1,), (1, 1), (1, 1, 0), (1, 1, 0, 0)]
    assert model.asked[0].xy == ((7, 7),)
    for before, after in zip(model.asked, model.asked[1:], strict=False):
        assert after.xy[: len(before.xy)] == before.xy
    assert model.asked[0].logits is None
    for prediction, asked in zip(model.given, model.asked[1:], strict=False):
        assert asked.logits is prediction.logits
    assert all(asked.box is None for asked in model.asked)


def test_a_start_box_stays() -> None:
    model = Scripted(square(4, 6), square(2, 12))
    rounds_of(model, TRUTH, "box", rounds=2)
    assert [asked.box for asked in model.asked] == [(4, 4, 10, 10)] * 3
    assert [asked.labels for asked in model.asked] == [(), (1,), (1, 0)]


def test_a_model_that_takes_no_masks_gets_none() -> None:
    model = Scripted(square(4, 6), prompts=("box", "point"))
    rounds_of(model, TRUTH, "point", rounds=2)
    assert [asked.logits for asked in model.asked] == [None] * 3


def test_once_perfect_the_mask_stays_and_the_model_rests() -> None:
    model = Scripted(square(4, 9), TRUTH)
    found = rounds_of(model, TRUTH, "box", rounds=8)
    assert len(found) == 9
    assert len(model.asked) == 2
    for one in found[1:]:
        np.testing.assert_array_equal(one.mask, TRUTH)
        assert one.iou == pytest.approx(0.2)


def test_random_users_repeat_themselves_with_their_seed() -> None:
    asked = []
    for seed in (3, 3, 4):
        model = Scripted(square(4, 6), square(2, 12))
        rounds_of(model, TRUTH, rounds=4, rng=np.random.default_rng(seed))
        asked.append([(a.xy, a.labels) for a in model.asked])
    assert asked[0] == asked[1] != asked[2]


def test_prompts_a_model_was_not_trained_for_are_refused() -> None:
    boxes_only = Scripted(TRUTH, prompts=("box",))
    assert len(rounds_of(boxes_only, TRUTH, "box", rounds=0)) == 1
    for start, rounds in (("point", 0), ("box", 1)):
        with pytest.raises(UnsupportedPromptError, match="got a point"):
            rounds_of(boxes_only, TRUTH, start, rounds)  # type: ignore[arg-type]


def test_an_empty_object_is_refused() -> None:
    empty = np.zeros((16, 16), dtype=bool)
    for start in ("point", "box"):
        with pytest.raises(InputError, match="an empty mask"):
            rounds_of(Scripted(empty), empty, start)  # type: ignore[arg-type]
