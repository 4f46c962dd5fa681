"""Instances on slices -> objects through them: duplicates go, neighbours join, small gaps close."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptseg.image.between import masks_between
from promptseg.models.protocol import Instance
from promptseg.segment.video.masks import Unpacked
from promptseg.segment.volume import overlap

__all__ = ["Track", "linked", "without_duplicates"]


@dataclass
class Track:
    """One object, slice by slice.

    Attributes:
        masks: slice -> (rows, columns) mask; kept packed.
        scores: slice -> score, of those on which it was found.
    """

    masks: MutableMapping[int, NDArray[np.bool_]] = field(default_factory=Unpacked)
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """Return the last slice it was found on."""
        return max(self.scores)

    @property
    def score(self) -> float:
        """Return the mean score over the slices it was found on."""
        return float(np.mean(list(self.scores.values())))

    def add(self, index: int, instance: Instance, fill: bool) -> None:
        """Add the object on a later slice; slices between are drawn in if asked for."""
        if fill and self.scores and index - self.last > 1:
            gap = range(self.last + 1, index)
            between = masks_between(self.masks[self.last], instance.mask, len(gap))
            self.masks.update(zip(gap, between, strict=True))
        self.masks[index], self.scores[index] = instance.mask, instance.score


def without_duplicates(instances: Iterable[Instance], most: float) -> list[Instance]:
    """Remove duplicates by non-maximum suppression: of two masks with an IoU above `most` the surer
    stays.
    """
    kept: list[Instance] = []
    for instance in sorted(instances, key=lambda one: -one.score):
        if instance.mask.any() and all(overlap(instance.mask, o.mask) <= most for o in kept):
            kept.append(instance)
    return kept


def linked(
    slices: Mapping[int, Sequence[Instance]], least: float, gap: int, fill: bool
) -> list[Track]:
    """Join the instances found on slices into objects, the surest first.

    An object goes on with the instance that agrees best with its last mask, pair by pair from the best
    on. It ends where none agrees for more than `gap` slices; what comes after is another object.

    Args:
        slices: slice -> its instances, in the order of slices.
        least: agreement (IoU) from which on two masks are of one object.
        gap: slices on which an object may be missed.
        fill: whether those slices are drawn in between their neighbours.
    """
    tracks: list[Track] = []
    for index, instances in slices.items():
        open_tracks = [track for track in tracks if index - track.last <= gap + 1]
        lasts = [track.masks[track.last] for track in open_tracks]
        pairs = [
            (overlap(last, instance.mask), t, n)
            for t, last in enumerate(lasts)
            for n, instance in enumerate(instances)
        ]
        taken_tracks: set[int] = set()
        taken: set[int] = set()
        for agreement, t, n in sorted(pairs, key=lambda pair: -pair[0]):
            if agreement >= least and t not in taken_tracks and n not in taken:
                taken_tracks.add(t)
                taken.add(n)
                open_tracks[t].add(index, instances[n], fill)
        for n, instance in enumerate(instances):
            if n not in taken:
                tracks.append(track := Track())
                track.add(index, instance, fill)
    return sorted(tracks, key=lambda track: -sum(track.scores.values()))
