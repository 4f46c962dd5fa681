"""Instances on slices -> objects through them: duplicates go, neighbours join, small gaps close.

What joins objects over longer gaps (`joining`, `link_by_propagation`) has here what it shares: when two
masks are of one object, how objects become one, and where they were missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from promptseg.image.between import masks_between
from promptseg.models.protocol import Instance
from promptseg.segment.parts import Part, neighbours
from promptseg.segment.video.masks import Packed, Unpacked

__all__ = ["Track", "agreement", "chained", "gaps", "linked", "without_duplicates"]


@dataclass
class Track:
    """One object, slice by slice.

    Attributes:
        masks: slice -> (rows, columns) mask; kept packed.
        scores: slice -> score, of those on which it was found.
    """

    masks: Unpacked = field(default_factory=Unpacked)
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """Return the first slice it was found on."""
        return min(self.scores)

    @property
    def last(self) -> int:
        """Return the last slice it was found on."""
        return max(self.scores)

    @property
    def score(self) -> float:
        """Return the mean score over the slices it was found on."""
        return float(np.mean(list(self.scores.values())))

    def part(self, index: int) -> Part:
        """Return the mask on a slice, and where it is."""
        packed = self.masks.packed[index]
        return Part(packed.region, packed.crop())

    def add(self, index: int, instance: Instance, fill: bool) -> None:
        """Add the object on a later slice; slices between are drawn in if asked for."""
        if fill and self.scores and index - self.last > 1:
            gap = range(self.last + 1, index)
            between = masks_between(self.masks[self.last], instance.mask, len(gap))
            self.masks.update(zip(gap, between, strict=True))
        packed = Packed.of_part(instance.crop, instance.region)
        self.masks.put(index, packed, instance.size)
        self.scores[index] = instance.score


def without_duplicates(instances: Iterable[Instance], most: float) -> list[Instance]:
    """Remove duplicates by non-maximum suppression: of two masks with an IoU above `most` the surer
    stays.
    """
    sure = sorted((one for one in instances if one.crop.any()), key=lambda one: -one.score)
    parts = [Part(one.region, one.crop) for one in sure]
    kept = np.zeros(len(sure), bool)
    for n, near in enumerate(neighbours(parts, parts)):
        kept[n] = all(parts[n].iou(parts[k]) <= most for k in near[kept[near]])
    return [one for one, stays in zip(sure, kept, strict=True) if stays]


def agreement(one: Part, other: Part, least: float) -> float:
    """Return the IoU of two masks that may be of one object: from `least` on, and above 0; else 0.

    Examples:
        >>> import numpy as np
        >>> a, b, c = (Part.of(np.array([row], bool)) for row in ([1, 1, 0], [0, 1, 0], [0, 0, 1]))
        >>> agreement(a, b, 0.2), agreement(a, b, 0.6), agreement(a, c, 0.0)
        (0.5, 0.0, 0.0)
    """
    iou = one.iou(other)
    return iou if iou >= least else 0.0


def chained(tracks: Sequence[Track], pairs: Iterable[tuple[int, int]]) -> list[Track]:
    """Join objects that go on as others, each as one at most; return them all, the surest first.

    Args:
        tracks: as they were found; they are left as they are.
        pairs: number of an object, and of one that it goes on as; the best first.
    """
    after: dict[int, int] = {}
    begun: set[int] = set()  # what another one goes on as
    for before, later in pairs:
        if before not in after and later not in begun:
            after[before] = later
            begun.add(later)
    chains = []
    for first in range(len(tracks)):
        if first in begun:
            continue
        chain = Track()
        number: int | None = first
        while number is not None:
            for index, packed in tracks[number].masks.packed.items():
                chain.masks.put(index, packed, tracks[number].masks.size)
            chain.scores.update(tracks[number].scores)
            number = after.get(number)
        chains.append(chain)
    return _surest_first(chains)


def gaps(track: Track) -> list[tuple[int, int]]:
    """Return neighbouring slices that an object was found on, with others between them."""
    return [(a, b) for a, b in pairwise(sorted(track.scores)) if b - a > 1]


def linked(
    slices: Mapping[int, Sequence[Instance]], least: float, gap: int, fill: bool
) -> list[Track]:
    """Join the instances found on slices into objects, the surest first.

    An object goes on with the instance that agrees best with its last mask, pair by pair from the best
    on. It ends where none agrees for more than `gap` slices; what comes after is another object.

    Args:
        slices: slice -> its instances, in the order of slices.
        least: agreement (IoU) from which on two masks are of one object; such as share nothing never.
        gap: slices on which an object may be missed.
        fill: whether those slices are drawn in between their neighbours.
    """
    tracks: list[Track] = []
    for index, instances in slices.items():
        open_tracks = [track for track in tracks if index - track.last <= gap + 1]
        lasts = [track.part(track.last) for track in open_tracks]
        parts = [Part(instance.region, instance.crop) for instance in instances]
        pairs = [
            (agreement(lasts[t], parts[n], least), t, n)
            for t, near in enumerate(neighbours(lasts, parts))
            for n in near.tolist()
        ]
        taken_tracks: set[int] = set()
        taken: set[int] = set()
        for iou, t, n in sorted(pairs, key=lambda pair: -pair[0]):
            if iou > 0 and t not in taken_tracks and n not in taken:
                taken_tracks.add(t)
                taken.add(n)
                open_tracks[t].add(index, instances[n], fill)
        for n, instance in enumerate(instances):
            if n not in taken:
                tracks.append(track := Track())
                track.add(index, instance, fill)
    return _surest_first(tracks)


def _surest_first(tracks: Iterable[Track]) -> list[Track]:
    return sorted(tracks, key=lambda track: -sum(track.scores.values()))
