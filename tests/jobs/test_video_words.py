"""Videos into a folder by words."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from conformance.other_kinds import BrightWords
from fakes import BrightPredictor
from formats.dicom_makers import write_object
from formats.video_makers import uneven, write_video
from jobs.test_video import COUNT, labels_in_zip, squares, truth
from promptseg.errors import InputError, PromptError
from promptseg.formats.video import open_video, video
from promptseg.inference.predictor import Predictor
from promptseg.jobs.video import job as video_job
from promptseg.jobs.video import segment_video
from promptseg.segment.options import SegmentJob
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.video.earlier import read_results

WITH, WITHOUT = range(10, 30), (*range(10), *range(30, COUNT))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two squares that are there from frame 10 to 29 alone."""
    frames = squares()
    for k in WITHOUT:
        frames[k][:] = 40
        frames[k][0, 0] = k
    return write_video(tmp_path / "clip.mkv", frames, stamps=uneven(COUNT))


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> BrightWords:
    """In the place of a network."""
    words = BrightWords()
    predictor = Predictor(words, Path("none.pt"), "0" * 64)
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(predictor))
    return words


def job_of(clip: Path, out: Path, **changes: Any) -> SegmentJob:
    values = {"text": ("bright",), "model": "sam3=none.pt", "quiet": True, **changes}
    return SegmentJob(input=clip, output=out, **values)


def test_all_that_a_phrase_finds_is_written_and_where_it_is_not_is_said(
    clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    segment_video(job_of(clip, out))
    assert (out / "overlay.webm").stat().st_size
    pictures = labels_in_zip(out / "masks.zip")
    for k in range(COUNT):
        expected = truth(k) > 0 if k in WITH else np.zeros_like(truth(k), bool)
        np.testing.assert_array_equal(pictures[f"{k:06d}.png"] > 0, expected)
    (fact,) = json.loads((out / "provenance.json").read_text())["objects"]
    assert (fact["name"], fact["frames"], fact["absent"]) == ("bright", 20, [[0, 9], [30, 39]])
    assert [k for k, score in fact["words"]["scores"] if score > 0.5] == list(WITH)
    with (out / "areas.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["presence"] == "1.0000" for row in rows if int(row["frame"]) in WITH} == {True}


def test_instances_are_objects_that_keep_their_labels(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment_video(job_of(clip, out, instances=True))
    pictures = labels_in_zip(out / "masks.zip")
    first = pictures["000015.png"][truth(15) == 1][0]
    for k in (10, 20, 29):
        assert set(pictures[f"{k:06d}.png"][truth(k) == 1]) == {first}
    facts = json.loads((out / "provenance.json").read_text())["objects"]
    assert [fact["name"] for fact in facts] == ["bright 1", "bright 2"]


def test_the_largest_part_is_kept_on_every_frame_though_words_miss_one(tmp_path: Path) -> None:
    frames = squares()
    frames[20][:] = 40
    clip = write_video(tmp_path / "missed.mkv", frames)
    segment_video(job_of(clip, tmp_path / "out", largest_component=True))
    pictures = labels_in_zip(tmp_path / "out" / "masks.zip")
    for k in range(COUNT):
        larger = truth(k) == 2 if k != 20 else np.zeros_like(truth(k), bool)
        np.testing.assert_array_equal(pictures[f"{k:06d}.png"] > 0, larger)


def test_frames_vote_once(tmp_path: Path) -> None:
    """The vote shows a patch that blinks on the frames between; a second vote would undo that."""
    blinking = np.zeros((COUNT, 48, 64), bool)
    blinking[:, 8:16, 4:12] = True
    blinking[::2, 30:40, 50:60] = True
    frames = [
        np.repeat(np.where(one, 220, 40).astype(np.uint8)[..., None], 3, 2) for one in blinking
    ]
    clip = write_video(tmp_path / "blinking.mkv", frames)
    segment_video(job_of(clip, tmp_path / "out", smooth_slices=1))
    pictures = labels_in_zip(tmp_path / "out" / "masks.zip")
    for k in range(COUNT):
        near = blinking[k - 1 : k + 2] if 0 < k < COUNT - 1 else blinking[k : k + 1]
        np.testing.assert_array_equal(pictures[f"{k:06d}.png"] > 0, np.median(near, 0) > 0)


def peak_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """What work gives, and the most bytes that it had at once."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_longer_video_takes_hardly_more_memory(
    tmp_path: Path, model: BrightWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks are packed: a frame more, with two objects, takes less than a tenth of one mask."""
    rows, columns = size = (192, 256)
    searching: list[int] = []
    reading: list[int] = []
    search = video_job._search

    def traced(*arguments: Any) -> Any:
        found, peak = peak_of(partial(search, *arguments))
        searching.append(peak)
        return found

    monkeypatch.setattr(video_job, "_search", traced)
    monkeypatch.setattr(video_job, "_EMBEDDING_BYTES", 0)
    monkeypatch.setattr(video, "_CACHE_BYTES", 0)
    monkeypatch.setattr(model, "encoded", deque(maxlen=0))
    for count in (20, 60):
        shown = np.full((count, *size, 3), 40, np.uint8)
        for k in range(count):
            shown[k, 8:56, 4 + k : 104 + k] = shown[k, 80:180, 150 - k : 250 - k] = 220
        clip, out = tmp_path / f"{count}.mkv", tmp_path / f"{count}"
        write_video(clip, list(shown))
        segment_video(job_of(clip, out, instances=True, overlay=False))
        frames = open_video(clip)
        results, peak = peak_of(partial(read_results, out, frames))
        reading.append(peak)
        for k in range(count):
            found = results.masks.on(0, k) | results.masks.on(1, k)
            np.testing.assert_array_equal(found, shown[k, ..., 0] == 220)
    for short, long in (searching, reading):
        assert (long - short) / 40 < rows * columns / 10


def test_frames_that_were_chosen_are_counted_as_in_the_video(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment_video(job_of(clip, out, frames="8:14", text=("[+14,8,21,15@10]",)))
    (fact,) = json.loads((out / "provenance.json").read_text())["objects"]
    assert [k for k, _ in fact["words"]["scores"]] == [10]  # where there is an example


def test_nothing_found_is_an_empty_object(clip: Path, tmp_path: Path) -> None:
    outputs = segment_video(job_of(clip, tmp_path / "out", text=("spleen",)))
    assert any("nothing found" in line for line in outputs.summary())


def test_words_do_not_correct(clip: Path, tmp_path: Path) -> None:
    segment_video(job_of(clip, tmp_path / "out"))
    with pytest.raises(PromptError, match="corrections that point at something, got words"):
        segment_video(job_of(clip, tmp_path / "out2", correct=tmp_path / "out"))


def test_a_correction_keeps_the_words_with_its_scores_by_frame(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, better = tmp_path / "out", tmp_path / "better"
    segment_video(job_of(clip, out, frames="8:14:2"))
    predictor = BrightPredictor(card="mobile-sam")
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(predictor))
    changes = {"text": (), "box": ("14,8,21,15@10=bright",), "propagate": "none"}
    segment_video(job_of(clip, better, correct=out, frames="8:14", **changes))
    first, again = (
        json.loads((folder / "provenance.json").read_text())["objects"][0]["words"]
        for folder in (out, better)
    )
    assert first == again
    assert [k for k, _ in again["scores"]] == [8, 10, 12, 14]


def test_words_that_make_no_sense_are_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment_video(job_of(clip, out, frames="8:14"))
    facts = json.loads((out / "provenance.json").read_text())
    facts["objects"][0]["words"]["scores"] = [["a"]]
    (out / "provenance.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="expected words and their scores"):
        segment_video(job_of(clip, tmp_path / "b", text=(), box=("1,1,2,2@8",), correct=out))


def test_the_seg_of_a_cine_has_the_code_of_its_words_also_after_a_correction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_object(
        tmp_path / "us.dcm",
        np.where(np.stack(squares(6)) == 220, 255, 40).astype(np.uint8),
        frames=True,
        sop="1.2.840.10008.5.1.4.1.1.3.1",
        Modality="US",
        FrameTime=40,
    )
    out, better = tmp_path / "out", tmp_path / "better"
    segment_video(job_of(source, out, text=("liver=A",), overlay=False))
    predictor = BrightPredictor(card="mobile-sam")
    monkeypatch.setattr(video_job, "load_prompted", lambda job: Segmenter(predictor))
    changes = {"text": (), "box": ("4,8,11,15@0=A",), "propagate": "none", "overlay": False}
    segment_video(job_of(source, better, correct=out, **changes))
    for folder in (out, better):
        (item,) = pydicom.dcmread(folder / "masks.dcm").SegmentSequence
        assert item.SegmentLabel == "A"
        assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
