"""One model answers the prompts, another follows its masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conformance.bright_memory import bright_memory
from fakes import BrightPredictor
from formats.video_makers import write_video
from promptseg.errors import InputError, ModelError, UnsupportedPromptError
from promptseg.geometry import Geometry
from promptseg.image import Image
from promptseg.jobs import segment as segment_job
from promptseg.jobs.replay import check_same_weights
from promptseg.jobs.video import job as video_job
from promptseg.jobs.video import segment_video
from promptseg.prompts import Box, Points, Text
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session

SHAPE = (8, 24, 40)
BOX = (3, 4, 14, 16)


def values() -> NDArray[np.uint8]:
    """A block that moves to the right, its upper half half as bright as its lower one."""
    found = np.full(SHAPE, 20, np.uint8)
    for k in range(SHAPE[0]):
        found[k, 6:10, 3 + k : 11 + k] = 90
        found[k, 10:15, 3 + k : 11 + k] = 220
    return found


def volume() -> Image:
    return Image(values(), Geometry.from_spacing(SHAPE), "US")


def starting(level: int = 80) -> Segmenter:
    """The model that starts takes the whole block; the one that follows sees its lower half alone."""
    return Segmenter(bright_memory(), starter=BrightPredictor(level=level))


def test_the_first_slice_is_the_starters_and_all_others_those_of_the_model() -> None:
    alone = Segmenter(bright_memory()).segment(volume(), Box(BOX, 3), window="minmax")
    found = starting().segment(volume(), Box(BOX, 3), window="minmax")
    masks = [one.segments[0].mask(SHAPE) for one in (alone, found)]
    whole = values()[3] > 60
    whole[:, [0, 1, 2]] = False
    np.testing.assert_array_equal(masks[1][3], whole)
    assert not np.array_equal(masks[0][3], whole)
    assert all(masks[1][k].any() for k in range(SHAPE[0]))
    facts = found.provenance
    assert facts.model is not None
    assert facts.started_by is not None
    assert facts.started_by.name == "lite-medsam"
    assert facts.model.name != facts.started_by.name
    assert alone.provenance.started_by is None


def test_prompts_are_those_that_the_starter_takes() -> None:
    click = Points(((6, 8),), (1,), 3)
    with pytest.raises(UnsupportedPromptError, match="lite-medsam"):
        starting().segment(volume(), click, window="minmax")
    with pytest.raises(UnsupportedPromptError, match="got a text"):
        starting().segment(volume(), Text("block"), window="minmax")


def test_what_has_nothing_to_follow_and_corrections_are_refused() -> None:
    picture = Image(values()[3], Geometry.pixels(SHAPE[1:]), "US")
    with pytest.raises(InputError, match=r"a volume or video.*lite-medsam"):
        starting().segment(picture, Box(BOX), window="minmax")
    before = starting().segment(volume(), Box(BOX, 3), window="minmax")
    with pytest.raises(InputError, match="corrections by the model that follows"):
        starting().correct(volume(), before, Box(BOX, 5), window="minmax")


def test_a_session_has_one_model_that_may_go_on_with_what_two_have_found() -> None:
    with pytest.raises(InputError, match=r"lite-medsam to start what sam2.1-t propagates"):
        Session(starting(), volume())
    found = starting().segment(volume(), Box(BOX, 3, "block"), window="minmax")
    session = Session(Segmenter(bright_memory()), volume())
    session.put(found["block"], "block")
    np.testing.assert_array_equal(session.result()["block"], found["block"])


def test_the_masks_that_a_click_may_mean_are_the_starters() -> None:
    segmenter = Segmenter(bright_memory(), starter=BrightPredictor(level=80, card="mobile-sam"))
    (one,) = segmenter.multimask_output(volume(), Points(((8, 12),), (1,), 3), window="minmax")
    np.testing.assert_array_equal(one.mask, values()[3] > 60)


def test_a_mask_that_somebody_drew_is_no_question_to_anybody() -> None:
    from promptseg.prompts import Mask

    drawn = np.zeros(SHAPE[1:], bool)
    drawn[6:15, 6:14] = True
    segmenter = starting()
    found = segmenter.segment(volume(), Mask(drawn, 3, as_drawn=True), window="minmax")
    np.testing.assert_array_equal(found.segments[0].mask(SHAPE)[3], drawn)
    assert segmenter.starter is not None
    assert not segmenter.starter.model.asked  # type: ignore[attr-defined]


def test_a_video_too_and_its_provenance_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [np.repeat(frame[..., None], 3, 2) for frame in values()]
    clip = write_video(tmp_path / "clip.mkv", frames)
    monkeypatch.setattr(video_job, "load_prompted", lambda job: starting())
    job = SegmentJob(
        input=clip, output=tmp_path / "out", box=("3,4,14,16@0=block",), quiet=True,
        overlay=False, start_model="lite-medsam",
    )  # fmt: skip
    outputs = segment_video(job)
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert facts["started_by"]["name"] == "lite-medsam"
    assert facts["command"]["start_model"] == "lite-medsam"
    other = BrightPredictor(level=80)
    other.weights_sha256 = "1" * 64
    with pytest.raises(ModelError, match="--start-model"):
        check_same_weights(outputs.provenance, bright_memory(), Image(values(), Geometry.pixels(SHAPE), "US"), other)  # fmt: skip  # noqa: E501


def test_the_command_hands_it_on_and_refuses_it_with_corrections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def load(model: str, **more: object) -> Segmenter:
        asked.append(more["start_model"])
        return Segmenter(bright_memory())

    monkeypatch.setattr(segment_job, "load", load)
    job = SegmentJob(
        input=tmp_path / "a.nii.gz", output=tmp_path / "b.nii.gz", start_model="medsam"
    )
    segment_job.load_prompted(job)
    assert asked == ["medsam"]
    job.correct = tmp_path / "c.nii.gz"
    with pytest.raises(InputError, match="--correct by the model that follows"):
        segment_job.check_classes(job, [])
