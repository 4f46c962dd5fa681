"""Packed masks and cleaning: the same as whole arrays, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.errors import OutputError
from promptseg.formats.own_folder import OwnFolder
from promptseg.models.protocol import Answer
from promptseg.segment.options import SegmentOptions
from promptseg.segment.postprocess import fill_holes, largest_component, smooth_across_slices
from promptseg.segment.video.clean import cleaned
from promptseg.segment.video.masks import FrameMasks
from promptseg.segment.video.parts import FOLDER, Parts

SIZE = (9, 13)


def random_masks(seed: int, frames: int = 6, share: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).random((2, frames, *SIZE)) < share


def packed(masks: np.ndarray) -> FrameMasks:
    out = FrameMasks(SIZE, len(masks))
    for number, each in enumerate(masks):
        for frame, mask in enumerate(each):
            out.add(number, frame, mask, 0.5 + frame / 100)
    return out


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_what_was_put_in_comes_out(seed: int, share: float) -> None:
    masks = random_masks(seed, share=share)
    kept = packed(masks)
    again = FrameMasks(SIZE, 2)
    again.put(kept.as_arrays({(n, k) for n in range(2) for k in range(6)}))
    for store in (kept, again):
        for number in range(2):
            for frame in range(6):
                np.testing.assert_array_equal(store.on(number, frame), masks[number, frame])
        for number in range(2):
            segment = store.segment(number, "x", number + 1)
            np.testing.assert_array_equal(segment.mask((6, *SIZE)), masks[number])
    assert again.iou(0, 3) == (0.53 if masks[0, 3].any() else None)
    shared = [k for k in range(6) if (masks[0, k] & masks[1, k]).any()]
    assert kept.overlap() == ((0, 1, shared[0]) if shared else None)
    labels = kept.labels(2, [1, 2])
    np.testing.assert_array_equal(labels, np.where(masks[1, 2], 2, masks[0, 2]))


def test_several_answers_are_joined() -> None:
    a, b = random_masks(1)[:, 0]
    store = FrameMasks(SIZE, 1)
    store.add(0, 4, a, 0.3)
    store.add(0, 4, b, 0.8)
    np.testing.assert_array_equal(store.on(0, 4), a | b)
    assert store.iou(0, 4) == 0.8
    assert not store.on(0, 5).any()


def test_masks_as_slices_are_changed_in_a_copy_alone() -> None:
    masks = random_masks(5)
    store = packed(masks)
    before = store.sha256()
    slices = store.slices(1)
    assert len(slices.masks) == 6
    assert 3 in slices.masks
    assert 6 not in slices.masks
    after = slices.copy()
    after.replace(3, Answer(masks[0, 3], 0.9, presence=2.0))
    after.clear(4)
    np.testing.assert_array_equal(slices.masks[3], masks[1, 3])
    assert store.sha256() == before
    store.replace(1, after)
    np.testing.assert_array_equal(store.on(1, 3), masks[0, 3])
    assert (store.iou(1, 3), store.iou(1, 5), store.iou(1, 4)) == (0.9, 0.55, None)
    assert store.presence(1, 3) == pytest.approx(1 / (1 + np.exp(-2)))
    assert store.presence(1, 5) is None
    assert store.sha256() != before


def test_what_was_looked_for_in_vain_is_known_after_a_kill_too() -> None:
    store = FrameMasks(SIZE, 1)
    store.add(0, 1, np.ones(SIZE, dtype=bool), 0.5, 3.0)
    store.add(0, 2, np.zeros(SIZE, dtype=bool), 0.25, -3.0)
    store.add(0, 3, np.zeros(SIZE, dtype=bool), 0.5)
    again = FrameMasks(SIZE, 1)
    again.put(store.as_arrays({(0, 1), (0, 2), (0, 3)}))
    assert again.found == store.found
    assert again.absent(0) == [2]
    again.replace(0, again.slices(0))
    assert again.absent(0) == [2]


def test_cleaning_is_that_of_volumes_slice_by_slice() -> None:
    masks = random_masks(7, frames=9, share=0.6)
    votes = cleaned(packed(masks), SegmentOptions(smooth_slices=2))
    holes = cleaned(packed(masks), SegmentOptions(fill_holes=True))
    parts = cleaned(packed(masks), SegmentOptions(largest_component=True))
    for number in range(2):
        smooth = smooth_across_slices(masks[number], 2)
        filled = fill_holes(masks[number])
        for frame in range(9):
            np.testing.assert_array_equal(votes.on(number, frame), smooth[frame])
            np.testing.assert_array_equal(holes.on(number, frame), filled[frame])
            largest = largest_component(masks[number, frame])
            np.testing.assert_array_equal(parts.on(number, frame), largest)


def test_parts_of_another_request_are_not_gone_on_with(tmp_path: Path) -> None:
    kept = packed(random_masks(3))
    Parts(OwnFolder(tmp_path), "one").keep(kept.as_arrays({(0, 1)}), {"x": np.arange(3)}, 5)
    found = FrameMasks(SIZE, 2)
    state = Parts(OwnFolder(tmp_path), "one").recall(found)
    assert state is not None
    assert (state["x"].tolist(), int(state["done"])) == ([0, 1, 2], 5)
    np.testing.assert_array_equal(found.on(0, 1), kept.on(0, 1))
    other = Parts(OwnFolder(tmp_path), "two")
    with pytest.raises(OutputError, match="an unfinished run of another request"):
        other.recall(FrameMasks(SIZE, 2))
    (tmp_path / FOLDER / "mine.txt").write_text("not ours")
    assert other.recall(FrameMasks(SIZE, 2), overwrite=True) is None
    assert [p.name for p in (tmp_path / FOLDER).iterdir()] == ["mine.txt"]


def test_damaged_parts_are_said(tmp_path: Path) -> None:
    Parts(OwnFolder(tmp_path), "one").keep(FrameMasks(SIZE, 1).as_arrays(()), {}, 0)
    (tmp_path / FOLDER / "000000.npz").write_bytes(b"no zip")
    with pytest.raises(OutputError, match="can be read"):
        Parts(OwnFolder(tmp_path), "one").recall(FrameMasks(SIZE, 1))
