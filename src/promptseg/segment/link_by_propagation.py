"""Objects found by words, linked where they were missed: their masks are propagated across the gap.

Agreement of neighbouring masks (`promptseg.segment.linking`) loses an object that moves, or that is
missed on more than a few slices. Here the model's own propagation goes from where an object was last
found; if it arrives at an object that begins later, both are one, and the slices between have the masks
that it found on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from promptseg.image.between import masks_between
from promptseg.models.protocol import ConditioningPrompt
from promptseg.prompts import Mask
from promptseg.segment.linking import Track
from promptseg.segment.run import Run
from promptseg.segment.slice_to_slice import gathered
from promptseg.segment.volume import overlap

__all__ = ["linked_by_propagation"]

_FURTHEST = 10  # slices on which an object may be missed

_Masks = Mapping[int, NDArray[np.bool_]]


def linked_by_propagation(run: Run, tracks: Sequence[Track], least: float) -> list[Track]:
    """Join objects that the propagation of a run connects, and fill in the slices on which they were
    missed; return them the surest first.

    Every gap is crossed from both sides, each as far as its middle. Where propagation ends before that,
    a mask between those of both sides is drawn in: in volumes, as what a video does not show may be
    hidden.

    Args:
        run: with the tracker that propagates.
        tracks: objects linked by agreement, with nothing between the slices they were found on.
        least: agreement (IoU) from which on a propagated mask is of an object that was found.
    """
    first = {n: min(track.scores) for n, track in enumerate(tracks)}
    arrivals = _propagated(run, [_ahead(n, track, first) for n, track in enumerate(tracks)])
    pairs = [
        (overlap(masks[first[m]], later.masks[first[m]]), n, m)
        for n, masks in enumerate(arrivals)
        for m, later in enumerate(tracks)
        if first[m] > tracks[n].last and first[m] in masks
    ]
    after: dict[int, int] = {}
    for agreement, n, m in sorted(pairs, key=lambda pair: -pair[0]):
        if agreement >= least and n not in after and m not in after.values():
            after[n] = m
    joined = []
    for n in sorted(set(range(len(tracks))) - set(after.values())):
        track = Track(dict(tracks[n].masks), dict(tracks[n].scores))
        while n in after:
            n = after[n]
            track.masks.update(tracks[n].masks)
            track.scores.update(tracks[n].scores)
        joined.append(track)
    _fill(run, joined)
    return sorted(joined, key=lambda track: -sum(track.scores.values()))


def _ahead(number: int, track: Track, first: Mapping[int, int]) -> list[ConditioningPrompt]:
    """Where an object that ended goes on from, as far as the last that begins within reach."""
    last = track.last
    begin = [k for k in first.values() if last + 1 < k <= last + 1 + _FURTHEST]
    return [_from(track, last, (last, max(begin)), number)] if begin else []


def _from(track: Track, index: int, reach: tuple[int, int], number: int) -> ConditioningPrompt:
    drawn = Mask(track.masks[index], index, as_drawn=True)
    return ConditioningPrompt(index, mask=drawn, reach=reach, object=number)


def _propagated(run: Run, conditions: Iterable[Sequence[ConditioningPrompt]]) -> list[_Masks]:
    """The masks of some objects, by slice."""
    each = list(conditions)
    asked = [condition for own in each for condition in own]
    if not asked:
        return [{} for _ in each]
    found = gathered(run.tracker.track(run.visit, asked), len(each))
    return [{k: mask for k, mask in one.masks.items() if mask.any()} for one in found]


def _fill(run: Run, tracks: Sequence[Track]) -> None:
    """Give objects masks on the slices between those they were found on."""
    video = run.visit.embedded.image.kind == "video"
    gaps = [(track, a, b) for track in tracks for a, b in _gaps(track)]
    conditions = []
    for number, (track, a, b) in enumerate(gaps):
        half = (a + b) // 2
        ends = [_from(track, a, (a, half), number)]
        ends += [_from(track, b, (half + 1, b), number)] if half + 1 < b else []
        conditions.append(ends)
    for (track, a, b), masks in zip(gaps, _propagated(run, conditions), strict=True):
        between = range(a + 1, b)
        if not video:
            drawn = masks_between(track.masks[a], track.masks[b], len(between))
            track.masks.update(zip(between, drawn, strict=True))
        track.masks.update({k: masks[k] for k in between if k in masks})


def _gaps(track: Track) -> list[tuple[int, int]]:
    """Neighbouring slices that an object was found on, with others between them."""
    found = sorted(track.scores)
    return [(a, b) for a, b in pairwise(found) if b - a > 1]
