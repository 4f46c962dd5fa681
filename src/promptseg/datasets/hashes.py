"""Perceptual hashes compared: how many bits apart, and from where on images do not look alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIKE", "BITS", "apart", "by_count", "near", "packed"]

BITS = 256  # of a hash
ALIKE = 32  # of these that differ at most
_BLOCK = 2048  # images compared at a time: a table of 16 MB

Hashes = NDArray[np.uint8]
"""(images, hashes, 32) bytes."""


def packed(hashes: Sequence[Sequence[str]]) -> Hashes:
    """Return the hashes of some images as one array, from 64 hex digits each; all have equally many."""
    joined = bytes.fromhex("".join(each for own in hashes for each in own))
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(hashes), -1, BITS // 8)


def by_count(hashes: Sequence[Sequence[str]]) -> dict[int, tuple[list[int], Hashes]]:
    """Split images by how many hashes they have, fewest first: their places and their hashes.

    Args:
        hashes: of every image; those without any are passed over.
    """
    places: dict[int, list[int]] = defaultdict(list)
    for place, own in enumerate(hashes):
        if own:
            places[len(own)].append(place)
    return {
        count: (places[count], packed([hashes[k] for k in places[count]]))
        for count in sorted(places)
    }


def apart(one: Hashes, other: Hashes) -> NDArray[np.float32]:
    """Return how many of 256 bits differ between images, (images, other images).

    Of images with as many hashes the mean over slice and slice; of others the smallest of any two.
    """
    if one.shape[1] == other.shape[1]:
        return _differing(_flat(one), _flat(other)) / np.float32(one.shape[1])
    least = np.full((len(one), len(other)), BITS, dtype=np.float32)
    for p in range(one.shape[1]):
        for q in range(other.shape[1]):
            np.minimum(least, _differing(one[:, p], other[:, q]), out=least)
    return least


def near(
    one: Hashes, other: Hashes | None = None, most: float = ALIKE
) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of images whose hashes are near: their places and the bits that differ.

    Args:
        one: hashes of some images.
        other: of others; without, pairs among the first are given, each once.
        most: bits that differ at most.
    """
    second = one if other is None else other
    for top in range(0, len(one), _BLOCK):
        for left in range(top if other is None else 0, len(second), _BLOCK):
            bits = apart(one[top : top + _BLOCK], second[left : left + _BLOCK])
            for i, j in np.argwhere(bits <= most):
                if other is not None or top + i < left + j:
                    yield int(top + i), int(left + j), float(bits[i, j])


def _flat(hashes: Hashes) -> Hashes:
    return hashes.reshape(len(hashes), -1)


def _differing(a: Hashes, b: Hashes) -> NDArray[np.float32]:
    """(rows of a, rows of b) bits that differ; a product counts those that both have."""
    x, y = (np.unpackbits(each, axis=1).astype(np.float32) for each in (a, b))
    counted: NDArray[np.float32] = x.sum(axis=1)[:, None] + y.sum(axis=1) - 2 * (x @ y.T)
    return counted
