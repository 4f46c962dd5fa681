"""What a split must not divide: the images of a patient, and images that look alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.datasets.listing import natural
from promptseg.evaluate.leaks import ALIKE, is_telling
from promptseg.evaluate.manifest import ManifestRow

__all__ = ["Group", "LookAlike", "grouped", "look_alikes", "person"]

_BITS = 256
_BLOCK = 4096


@dataclass(frozen=True)
class LookAlike:
    """Two images that are nearly the same.

    Attributes:
        first, second: the images.
        distance: bits of 256 between their perceptual hashes.
    """

    first: ManifestRow
    second: ManifestRow
    distance: float


@dataclass(frozen=True)
class Group:
    """Cases that belong together.

    Attributes:
        name: of the patient who comes first.
        cases: at least one.
        sizes: dataset -> samples.
    """

    name: str
    cases: tuple[ManifestRow, ...]
    sizes: dict[str, int]


def person(case: ManifestRow) -> str:
    """Who a case shows, as one word for the same person in every dataset: an id that tells persons
    apart ("STS_019"), or else the id with the name of the dataset."""
    return case.patient if is_telling(case.patient) else f"{case.dataset}/{case.patient}"


def grouped(
    cases: Sequence[ManifestRow],
    samples: Counter[tuple[str, str]],
    alike: Sequence[LookAlike] | None = (),
) -> list[Group]:
    """Cases of one person, of the same voxels or of look-alikes, in order of their names.

    Args:
        cases: all of them.
        samples: (dataset, case) -> number of its samples.
        alike: pairs to be joined too; None joins cases of one person alone.
    """
    joined = _Joined(len(cases))
    first: dict[str, int] = {}
    for place, case in enumerate(cases):
        keys = [f"person {person(case)}"] + (
            [f"voxels {case.sha256}"] if case.sha256 and alike is not None else []
        )
        for key in keys:
            joined.join(first.setdefault(key, place), place)
    places = {(case.dataset, case.case): place for place, case in enumerate(cases)}
    for pair in alike or ():
        ends = (places[each.dataset, each.case] for each in (pair.first, pair.second))
        joined.join(*ends)
    members: dict[int, list[ManifestRow]] = defaultdict(list)
    for place, case in enumerate(cases):
        members[joined.root(place)].append(case)
    groups = []
    for own in members.values():
        own.sort(key=lambda case: natural(f"{case.dataset}/{case.case}"))
        sizes: Counter[str] = Counter()
        for case in own:
            sizes[case.dataset] += samples[case.dataset, case.case]
        groups.append(Group(f"{own[0].dataset}/{own[0].patient}", tuple(own), dict(sizes)))
    return sorted(groups, key=lambda group: natural(group.name))


def look_alikes(cases: Sequence[ManifestRow], most: float = ALIKE) -> Iterator[LookAlike]:
    """Pairs of images of different persons that look alike, by the rule of the leak check.

    Images with as many hashes are compared slice by slice (their mean distance counts), others by
    the smallest distance of any two. All pairs are compared: time grows with the square of the
    images.

    Args:
        cases: with perceptual hashes; those without are passed over.
        most: bits of 256 that differ at most.
    """
    by_count: dict[int, list[int]] = defaultdict(list)
    hashes = [case.phash.split() for case in cases]
    for place, own in enumerate(hashes):
        if own:
            by_count[len(own)].append(place)
    signs = {count: _signs([hashes[k] for k in places]) for count, places in by_count.items()}
    counts = sorted(by_count)
    people = [person(case) for case in cases]
    for number, count in enumerate(counts):
        for other in counts[number:]:
            for i, j, distance in _near(signs[count], signs[other], count == other, most):
                a, b = by_count[count][i], by_count[other][j]
                if people[a] != people[b]:
                    yield LookAlike(cases[a], cases[b], distance)


def _signs(hashes: list[list[str]]) -> NDArray[np.float32]:
    """(images, hashes, 256) bits as -1 and 1, so that products count those that agree."""
    joined = bytes.fromhex("".join(each for own in hashes for each in own))
    bits = np.unpackbits(np.frombuffer(joined, dtype=np.uint8)).reshape(len(hashes), -1, _BITS)
    return bits.astype(np.float32) * 2 - 1


def _near(
    a: NDArray[np.float32], b: NDArray[np.float32], same: bool, most: float
) -> Iterator[tuple[int, int, float]]:
    """Places and distance of pairs that are near; each pair once where `a` and `b` are the same."""
    for top in range(0, len(a), _BLOCK):
        for left in range(top if same else 0, len(b), _BLOCK):
            one, other = a[top : top + _BLOCK], b[left : left + _BLOCK]
            if same:
                agreed = one.reshape(len(one), -1) @ other.reshape(len(other), -1).T / a.shape[1]
            else:
                pairs = [
                    one[:, p] @ other[:, q].T for p in range(a.shape[1]) for q in range(b.shape[1])
                ]
                agreed = np.maximum.reduce(pairs)
            for i, j in np.argwhere(agreed >= _BITS - 2 * most):
                if not same or top + i < left + j:
                    yield int(top + i), int(left + j), float(_BITS - agreed[i, j]) / 2


def _hashes(signs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """(images, 256) of the first hash of every image, the second, ..."""
    return [signs[:, k] for k in range(signs.shape[1])]


class _Joined:
    """Which of some numbered things belong together."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def root(self, place: int) -> int:
        while self._above[place] != place:
            self._above[place] = self._above[self._above[place]]
            place = self._above[place]
        return place

    def join(self, one: int, other: int) -> None:
        self._above[self.root(other)] = self.root(one)
