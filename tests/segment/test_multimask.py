"""What a click may mean, with the weights that the package brings."""

from __future__ import annotations

import numpy as np
import pytest

import promptseg
from fakes import BrightPredictor
from promptseg import Box, Image, Mask, Points, Segmenter, Session
from promptseg.errors import PromptError

SIDE = 96


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return promptseg.load("promptseg-lite", engine="eager", threads=1)


@pytest.fixture(scope="module")
def picture() -> Image:
    """A bright disc in a grey one."""
    y, x = np.ogrid[:SIDE, :SIDE]
    far = np.hypot(x - 48, y - 48)
    return Image.from_array(np.select([far < 10, far < 34], [230, 140], 30).astype(np.uint8))


CLICK = Points(((48.0, 26.0),), (1,))


def test_candidates_are_ranked_differ_and_begin_with_what_segment_takes(
    segmenter: Segmenter, picture: Image
) -> None:
    candidates = segmenter.multimask_output(picture, CLICK)
    assert len(candidates) >= 2
    scores = [r.predicted_iou for r in candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    for k, one in enumerate(candidates):
        assert one.mask.any()
        for other in candidates[:k]:
            shared = (one.mask & other.mask).sum() / (one.mask | other.mask).sum()
            assert shared < 0.95
    taken = segmenter.segment(picture, CLICK)
    (name,) = taken.names.values()
    np.testing.assert_array_equal(taken[name], candidates[0].mask)


def test_a_session_takes_another_reading_and_back(segmenter: Segmenter, picture: Image) -> None:
    session = Session(segmenter, picture)
    session.add_point((48.0, 26.0))
    first = session.result().labels().copy()
    candidates = session.multimask_output()
    session.choose(candidates[1])
    np.testing.assert_array_equal(session.result().labels() > 0, candidates[1].mask)
    session.undo()
    np.testing.assert_array_equal(session.result().labels(), first)


def test_other_prompts_have_one_meaning(picture: Image) -> None:
    bright = Segmenter(BrightPredictor(card="mobile-sam"))
    (only,) = bright.multimask_output(picture, Points(((48.0, 48.0),), (1,)))
    assert only.pixels == only.mask.sum() > 0
    for prompt in (Points(((48.0, 48.0), (1.0, 1.0)), (1, 0)), Box((10, 10, 50, 50))):
        with pytest.raises(PromptError, match="one click"):
            bright.multimask_output(picture, prompt)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="one click"):
        bright.multimask_output(picture, Mask(np.ones((SIDE, SIDE), bool)))  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="lite-medsam was trained for"):
        Segmenter(BrightPredictor(card="lite-medsam")).multimask_output(picture, CLICK)
    session = Session(bright, picture)
    session.add_box((10, 10, 50, 50))
    with pytest.raises(PromptError, match="one click"):
        session.multimask_output()
