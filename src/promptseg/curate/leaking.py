"""Whether a part of a collection shows what another part shows: groups, patients, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.curate.collection import Sample
from promptseg.evaluate.leaks import ALIKE

__all__ = ["Alike", "Divided", "divided", "look_alikes", "same_pictures"]

_BITS = 256
_ROWS = 4096  # hashes compared at a time


class Divided(NamedTuple):
    """What should be whole, and is in several parts.

    Attributes:
        what: "group", "patient" or "picture".
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
        return f"one {self.what} in {len(self.parts)} parts: {self.name}: {places}"


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
    """Groups, and patients of a dataset, that are in several parts; of the index alone."""
    samples = list(samples)
    found = _divided(samples, "group", lambda s: f"{s.dataset}/{s.group}")
    whole = {key for each in found for key in each.keys}
    patients = _divided(samples, "patient", lambda s: f"{s.dataset}/{s.patient}")
    return found + [each for each in patients if not whole.issuperset(each.keys)]


def same_pictures(samples: Iterable[Sample], hashes: dict[str, str]) -> list[Divided]:
    """Pictures, pixel by pixel the same, that are in several parts.

    Args:
        samples: the collection.
        hashes: key of a sample -> SHA-256 of its pixels; samples without are passed over.
    """
    read = [sample for sample in samples if sample.key in hashes]
    found = _divided(read, "picture", lambda s: hashes[s.key])
    return [each._replace(name=each.name[:12]) for each in found]


def look_alikes(samples: Iterable[Sample], hashes: dict[str, str], most: int = 1000) -> list[Alike]:
    """Samples of different parts and groups whose perceptual hashes differ by few bits.

    Args:
        samples: the collection.
        hashes: key of a sample -> 64 hex digits; samples without are passed over.
        most: how many pairs to give at most.

    Returns:
        The most alike first.
    """
    read = [sample for sample in samples if hashes.get(sample.key)]
    if not read:
        return []
    signs = _signs([hashes[sample.key] for sample in read])
    parts = np.array([sample.split for sample in read])
    groups = np.unique([f"{s.dataset}/{s.group}" for s in read], return_inverse=True)[1]
    found: list[Alike] = []
    for start in range(0, len(read), _ROWS):
        rows = slice(start, start + _ROWS)
        apart = (_BITS - signs[rows] @ signs.T) / 2  # a product of signs counts agreements
        pairs = (apart <= ALIKE) & (parts[rows, None] != parts) & (groups[rows, None] != groups)
        for i, j in np.argwhere(pairs):
            if start + i < j:
                a, b = read[start + i], read[j]
                found.append(Alike(a.key, b.key, (a.split, b.split), int(apart[i, j])))
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


def _signs(hashes: list[str]) -> NDArray[np.float32]:
    """(hashes, 256) of +1 and -1."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(len(hashes), -1), axis=1)
    return bits.astype(np.float32) * 2 - 1
