"""Clips out of a collection of single pictures: who is whose neighbour, and which object is which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curate.made import Made, disc, make_collection, rectangle
from promptseg.datasets.collection import Collection, Sample, Target
from promptseg.train.sequences import TrainingClips, clip_from, propagatable, runs_of
from train.moving import moving_data
from train.test_sam2_training import SMALL


def sample(
    slice_: int | None, names: str = "a", case: str = "scan", modality: str = "CT", side: int = 8
) -> Sample:
    """A slice with objects named by letters."""
    targets = [Target(k, name, 4, (1, 1, 2, 2)) for k, name in enumerate(names, 1)]
    return Sample(
        key=f"set/{case}/{slice_ or 0:04d}",
        dataset="set",
        case=case,
        patient=case,
        group=case,
        slice=slice_,
        modality=modality,
        shape=(side, side),
        pixel=(1.0, 1.0),
        targets=tuple(targets),
        split="train",
        rule="",
    )


def slices(*samples: Sample) -> list[list[int | None]]:
    return [[s.slice for s in run.samples] for run in runs_of(samples, 4)]


def test_neighbours_are_as_far_apart_as_the_nearest_of_their_case() -> None:
    assert slices(*(sample(k) for k in (5, 3, 4, 9, 8))) == [[3, 4, 5], [8, 9]]
    assert slices(*(sample(k) for k in (0, 5, 10, 20, 25))) == [[0, 5, 10], [20, 25]]
    assert slices(*(sample(k) for k in (0, 3, 7, 10))) == [[0, 3, 7, 10]]  # evenly spread
    assert slices(sample(0), sample(1, case="other")) == []
    assert slices(sample(0), sample(1, side=9), sample(2, side=9)) == [[1, 2]]


def test_pictures_and_tiles_have_no_neighbours() -> None:
    assert slices(sample(None), sample(None, case="b")) == []
    assert slices(*(sample(k, modality="pathology") for k in range(4))) == []


def test_an_object_is_followed_by_its_name_if_no_other_has_it() -> None:
    clip = (sample(0, "ab"), sample(1, "b"), sample(2, "abc"))
    assert propagatable(clip) == ("a", "b")  # not the one that comes later
    assert propagatable((sample(0, "ab"), sample(1, "aab"))) == ("b",)
    assert slices(sample(0, "aa"), sample(1, "aa")) == []
    (run,) = runs_of([sample(0, "aa"), *(sample(k) for k in range(1, 6))], 4)
    assert run.starts == (1, 2)


def test_a_clip_goes_where_more_neighbours_are() -> None:
    those = [sample(k) for k in range(6)]
    runs = runs_of(those, 4)
    assert [s.slice for s in clip_from(those[0], runs)] == [0, 1, 2, 3]
    assert [s.slice for s in clip_from(those[4], runs)] == [4, 3, 2, 1]
    assert clip_from(sample(0, case="other"), runs) == ()


def clips_of(collection: Collection, augmented: bool = False) -> TrainingClips:
    runs = runs_of(collection.of("train"), 4)
    return TrainingClips(collection, runs, SMALL, 32, 1, seed=0, augmented=augmented)


def test_a_clip_has_the_masks_of_its_own_object_on_every_frame(tmp_path: Path) -> None:
    plate = rectangle((64, 64), (2, 2, 13, 9))
    shown = [{"ball": disc((64, 64), 30, 20 + 4 * k, 8), "plate": plate} for k in range(5)]
    del shown[2]["ball"]
    made = [Made(f"us/film/{k:04d}", masks, modality="US") for k, masks in enumerate(shown)]
    collection = make_collection(tmp_path, made)
    clips = clips_of(collection)
    seen = set()
    for update in range(12):
        place = (update, 0, 0)
        clip, names = clips.drawn(place)
        example = clips.example(place)
        assert clips.objects(place) == len(names) == 1
        assert example.slices.shape == (4, 3, 128, 128)
        assert torch.equal(example.slices, clips.example(place).slices)
        for k, one in enumerate(clip):
            mask = shown[one.slice or 0].get(names[0], np.zeros((64, 64), bool))
            # every other pixel of the slice is a cell of the grid
            assert np.array_equal(example.masks[0, k].numpy(), mask[1::2, 1::2])
        seen.add((clip[0].slice, names[0]))
    assert seen == {(0, "ball"), (0, "plate"), (1, "ball"), (1, "plate")}
    turned = TrainingClips(collection, clips.runs, SMALL, 32, 1, seed=0, turns=True)
    ways = {tuple(s.slice for s in turned.drawn((k, 0, 0))[0]) for k in range(20)}
    assert ways == {(0, 1, 2, 3), (1, 2, 3, 4), (3, 2, 1, 0), (4, 3, 2, 1)}  # pixels as they are
    batch = clips.join([clips.example((0, 0, 0)), clips.example((0, 1, 0))])
    assert not isinstance(batch, Exception)
    assert (batch.slices.shape[0], batch.first, len(batch.names)) == (8, (0, 4), 2)
    assert batch.names[0] != batch.names[1]


def test_all_frames_of_a_clip_are_changed_alike(tmp_path: Path) -> None:
    still = disc((64, 64), 20, 40, 9)
    made = [Made(f"us/film/{k:04d}", {"ball": still}, seed=5) for k in range(4)]
    clips = clips_of(make_collection(tmp_path, made), augmented=True)
    places = set()
    for update in range(8):
        example = clips.example((update, 0, 0))
        for k in range(1, 4):
            assert torch.equal(example.slices[k], example.slices[0])
            assert torch.equal(example.masks[:, k], example.masks[:, 0])
        places.add(tuple(example.masks[0, 0].nonzero()[0].tolist()))
    assert len(places) > 2


@pytest.mark.parametrize("frames", [2, 8])
def test_clips_are_no_longer_than_asked_and_no_longer_than_there_is(
    tmp_path: Path, frames: int
) -> None:
    collection = moving_data(tmp_path, cases=1, frames=5)
    (run,) = runs_of(collection.samples, frames)
    assert {len(run.clip(start)) for start in run.starts} == {min(frames, 5)}
