"""How much masks share, counted near them alone, against counting whole slices."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.models.protocol import Instance
from promptseg.segment.linking import Track, linked, without_duplicates
from promptseg.segment.parts import Part, ious

SIZE = 40, 50


def blobs(chance: np.random.Generator, count: int) -> list[Instance]:
    """Ragged masks of some sizes at some places; some are empty, some scores are the same."""
    found = []
    for _ in range(count):
        mask = np.zeros(SIZE, bool)
        top, left = chance.integers(0, 30), chance.integers(0, 40)
        rows, columns = chance.integers(0, 12, 2)
        part = mask[top : top + rows, left : left + columns]
        part[:] = chance.random(part.shape) < 0.8
        found.append(Instance(mask, round(float(chance.random()), 1), (0, 0, 0, 0)))
    return found


def whole(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """IoU over the whole slice."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pixels of the smaller of each two masks whose pixels were compared."""
    seen: list[int] = []
    plain = Part.iou

    def iou(self: Part, other: Part) -> float:
        seen.append(min(self.crop.size, other.crop.size))
        return plain(self, other)

    monkeypatch.setattr(Part, "iou", iou)
    return seen


@pytest.mark.parametrize("seed", range(12))
def test_duplicates_are_those_that_comparing_all_with_all_finds(seed: int) -> None:
    some = blobs(np.random.default_rng(seed), 40)
    some += [Instance(one.mask, one.score / 2, one.box) for one in some[::5]]
    for most in (0.1, 0.5, 1.0):
        kept: list[Instance] = []
        for one in sorted(some, key=lambda one: -one.score):
            if one.mask.any() and all(whole(one.mask, other.mask) <= most for other in kept):
                kept.append(one)
        assert without_duplicates(some, most) == kept
        assert 0 < len(kept) < len(some)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [0.0, 0.2])
def test_objects_are_those_that_comparing_all_with_all_links(seed: int, least: float) -> None:
    chance = np.random.default_rng([seed, 7])
    slices = {k: without_duplicates(blobs(chance, 25), 0.3) for k in (0, 1, 2, 5, 6, 11)}
    expected: list[dict[int, Instance]] = []
    for index, instances in slices.items():
        near = [track for track in expected if index - max(track) <= 3]
        pairs = [
            (whole(track[max(track)].mask, one.mask), t, n)
            for t, track in enumerate(near)
            for n, one in enumerate(instances)
        ]
        ahead: dict[int, int] = {}
        for iou, t, n in sorted(pairs, key=lambda pair: -pair[0]):
            if iou > 0 and iou >= least and t not in ahead and n not in ahead.values():
                ahead[t] = n
        for t, n in ahead.items():
            near[t][index] = instances[n]
        new = (one for n, one in enumerate(instances) if n not in ahead.values())
        expected += [{index: one} for one in new]
    expected.sort(key=lambda track: -sum(one.score for one in track.values()))
    found = linked(slices, least, gap=2, fill=False)
    assert any(len(track.scores) > 1 for track in found)
    assert len(found) == len(expected)
    for track, own in zip(found, expected, strict=True):
        assert list(track.scores) == list(own)
        for index, one in own.items():
            np.testing.assert_array_equal(track.masks[index], one.mask)


def test_agreement_of_many_is_that_of_whole_masks_in_volumes_too() -> None:
    chance = np.random.default_rng(3)
    masks = [one.mask for one in blobs(chance, 20)]
    found = ious([Part.of(mask) for mask in masks], [Part.of(mask) for mask in masks[:7]])
    expected = [[whole(one, other) for other in masks[:7]] for one in masks]
    np.testing.assert_array_equal(found, expected)
    deep = [np.stack([a, b]) for a, b in combinations(masks[:5], 2)]
    found = ious([Part.of(mask) for mask in deep], [Part.of(mask) for mask in deep])
    np.testing.assert_array_equal(found, [[whole(one, other) for other in deep] for one in deep])
    assert ious([], [Part.of(masks[0])]).shape == (0, 1)
    assert ious([Part.of(masks[0])], []).shape == (1, 0)


def test_hundreds_of_objects_are_compared_with_their_neighbours_alone(compared: list[int]) -> None:
    """784 nuclei on one slice of 512 x 512: 306 936 pairs, of which none share a box."""
    nuclei: list[Instance] = []
    for row in range(28):
        for column in range(28):
            mask = np.zeros((512, 512), bool)
            at = slice(18 * row, 18 * row + 10), slice(18 * column, 18 * column + 10)
            mask[at] = True
            nuclei.append(Instance(mask, 0.9 - 1e-4 * len(nuclei), (0, 0, 0, 0)))
    again = [Instance(one.mask, 0.3, one.box) for one in nuclei]
    kept = without_duplicates([*again, *nuclei], 0.5)
    assert kept == nuclei
    assert len(compared) == 784
    assert max(compared) <= 100
    compared.clear()
    assert len(linked({0: kept, 1: kept}, 0.2, gap=2, fill=False)) == 784
    assert len(compared) == 784
    assert max(compared) <= 100


def test_instances_keep_what_is_around_them() -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[5:15, 7:10] = True
    one = Instance(mask, 0.5, (7, 5, 9, 14))
    mask[6, 8] = False  # a model may go on using its array
    assert one.crop.nbytes == 30
    assert one.crop.base is None
    assert one.size == (2000, 3000)
    assert int(one.mask.sum()) == 30
    assert one.region == (slice(5, 15), slice(7, 10))
    track = Track()
    track.add(3, one, fill=False)
    np.testing.assert_array_equal(track.masks[3], one.mask)
    assert not Instance(np.zeros((4, 5), bool), 0.5, (0, 0, 0, 0)).mask.any()
