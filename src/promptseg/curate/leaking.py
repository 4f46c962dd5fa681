"""Leaks between the parts of a collection: groups, patients and 2D images that are in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from promptseg.curate.groups import person
from promptseg.datasets.collection import Sample
from promptseg.datasets.hashes import near, packed

__all__ = ["Alike", "Divided", "alike_samples", "divided", "same_pictures"]


class Divided(NamedTuple):
    """A group, patient or 2D image that should be in one part, and is in several.

    Attributes:
        what: "group", "patient" or "2D image".
        name: of it.
        parts: the parts it is in.
        keys: a sample of each.
    """

    what: str
    name: str
    parts: tuple[str, ...]
    keys: tuple[str, ...]

    def __str__(self) -> str:
        pairs = zip(self.keys, self.parts, strict=True)
        places = ", ".join(f"{key} ({part})" for key, part in pairs)
        return f"every {self.what} in one part, got {self.name} in {len(self.parts)}: {places}"


class Alike(NamedTuple):
    """Two samples of different parts and groups that look alike.

    Attributes:
        first, second: their keys.
        parts: their parts.
        bits: of 256 that differ between their perceptual hashes.
    """

    first: str
    second: str
    parts: tuple[str, str]
    bits: int


def divided(samples: Iterable[Sample]) -> list[Divided]:
    """Return the groups and persons that are in several parts, by the index alone."""
    samples = list(samples)
    found = _divided(samples, "group", lambda s: s.group)
    whole = {key for each in found for key in each.keys}
    patients = _divided(samples, "patient", person)
    return found + [each for each in patients if not whole.issuperset(each.keys)]


def same_pictures(samples: Iterable[Sample], hashes: dict[str, str]) -> list[Divided]:
    """Return 2D images that are in several parts, the same pixel by pixel.

    Args:
        samples: the collection.
        hashes: key of a sample -> SHA-256 of its pixels; samples without are passed over.
    """
    read = [sample for sample in samples if sample.key in hashes]
    found = _divided(read, "2D image", lambda s: hashes[s.key])
    return [each._replace(name=each.name[:12]) for each in found]


def alike_samples(
    samples: Iterable[Sample], hashes: dict[str, str], most: int = 1000
) -> list[Alike]:
    """Return pairs of samples in different parts whose perceptual hashes differ by few bits.

    Args:
        samples: the collection.
        hashes: key of a sample -> 64 hex digits; samples without are passed over.
        most: how many pairs to give at most.

    Returns:
        The most alike first.
    """
    read = [sample for sample in samples if hashes.get(sample.key)]
    people = [person(sample) for sample in read]
    found: list[Alike] = []
    for i, j, bits in near(packed([[hashes[sample.key]] for sample in read])) if read else ():
        a, b = read[i], read[j]
        if a.split != b.split and a.group != b.group and people[i] != people[j]:
            found.append(Alike(a.key, b.key, (a.split, b.split), int(bits)))
    return sorted(found, key=lambda pair: (pair.bits, pair.first, pair.second))[:most]


def _divided(samples: list[Sample], what: str, name: Callable[[Sample], str]) -> list[Divided]:
    places: dict[str, dict[str, str]] = {}
    for sample in samples:
        places.setdefault(name(sample), {}).setdefault(sample.split, sample.key)
    return [
        Divided(what, key, tuple(parts), tuple(parts.values()))
        for key, parts in sorted(places.items())
        if len(parts) > 1
    ]
