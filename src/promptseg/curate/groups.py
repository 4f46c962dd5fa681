"""Groups that a split must not divide: the images of a patient, and images that look alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptseg.datasets.collection import Sample
from promptseg.datasets.hashes import ALIKE, by_count, near
from promptseg.datasets.listing import natural
from promptseg.datasets.manifest import ManifestRow
from promptseg.datasets.patients import person_of

__all__ = ["Group", "LookAlike", "grouped", "look_alikes", "person"]


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


def person(case: ManifestRow | Sample) -> str:
    """Return whom a case or sample shows, as one word for the same person in every dataset."""
    return person_of(case.dataset, case.patient)


def grouped(
    cases: Sequence[ManifestRow],
    samples: Counter[tuple[str, str]],
    alike: Sequence[LookAlike] | None = (),
) -> list[Group]:
    """Join cases of one person, of the same voxels or of look-alikes, in order of their names.

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
    """Yield pairs of images of different persons that look alike, by the rule of the leak check.

    Images with as many hashes are compared slice by slice (their mean distance counts), others by
    the smallest distance of any two. All pairs are compared: time grows with the square of the
    images.

    Args:
        cases: with perceptual hashes; those without are passed over.
        most: bits of 256 that differ at most.
    """
    sets = list(by_count([case.phash.split() for case in cases]).values())
    people = [person(case) for case in cases]
    for number, (places, hashes) in enumerate(sets):
        for others, other in sets[number:]:
            for i, j, bits in near(hashes, None if other is hashes else other, most):
                a, b = places[i], others[j]
                if people[a] != people[b]:
                    yield LookAlike(cases[a], cases[b], bits)


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
