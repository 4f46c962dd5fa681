"""Objects found by words, linked where they were missed: their masks are propagated across the gap.

Agreement of neighbouring masks (`promptseg.segment.linking`) loses an object that moves, or that is
missed on more than a few slices. Here the model's own propagation goes from where an object was last
found; if it arrives at an object that begins later, both are one, and the slices between have the masks
that it found on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from promptseg.image.between import masks_between
from promptseg.models.protocol import ConditioningPrompt, SliceMasks
from promptseg.prompts import Mask
from promptseg.segment.linking import Track, agreement, chained, gaps
from promptseg.segment.parts import Part
from promptseg.segment.run import Run
from promptseg.segment.video.masks import Unpacked

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
        least: agreement (IoU) from which on a propagated mask is of an object that was found; such as
            share nothing never.
    """
    arrivals = _propagated(run, [_ahead(n, tracks) for n in range(len(tracks))])
    begins: dict[int, dict[int, Part]] = {}
    for m, later in enumerate(tracks):
        begins.setdefault(later.first, {})[m] = later.part(later.first)
    pairs = [
        (iou, n, m)
        for n, masks in enumerate(arrivals)
        for first, begun in begins.items()
        if first > tracks[n].last and first in masks
        for m, iou in _agreeing(Part.of(masks[first]), begun, least)
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    joined = chained(tracks, ((n, m) for _, n, m in pairs))
    _fill(run, joined)
    return joined


def _agreeing(
    arrived: Part, begun: Mapping[int, Part], least: float
) -> Iterator[tuple[int, float]]:
    """Which of the objects that begin on a slice a propagated mask is of, and the agreement."""
    for m, part in begun.items():
        if (iou := agreement(arrived, part, least)) > 0:
            yield m, iou


def _ahead(number: int, tracks: Sequence[Track]) -> list[ConditioningPrompt]:
    """Where an object that ended goes on from, as far as the last that begins within reach."""
    track, last = tracks[number], tracks[number].last
    begin = [o.first for o in tracks if last + 1 < o.first <= last + 1 + _FURTHEST]
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
    found = [SliceMasks(Unpacked()) for _ in each]  # packed, as they are of all gaps at once
    for one in run.tracker.track(run.visit, asked):
        if one.answer.mask.any():
            found[one.object].add(one.frame, one.answer)
    return [one.masks for one in found]


def _fill(run: Run, tracks: Sequence[Track]) -> None:
    """Give objects masks on the slices between those they were found on."""
    video = run.visit.embedded.image.kind == "video"
    missed = [(track, a, b) for track in tracks for a, b in gaps(track)]
    conditions = []
    for number, (track, a, b) in enumerate(missed):
        half = (a + b) // 2
        ends = [_from(track, a, (a, half), number)]
        ends += [_from(track, b, (half + 1, b), number)] if half + 1 < b else []
        conditions.append(ends)
    for (track, a, b), masks in zip(missed, _propagated(run, conditions), strict=True):
        between = range(a + 1, b)
        if not video:
            drawn = masks_between(track.masks[a], track.masks[b], len(between))
            track.masks.update(zip(between, drawn, strict=True))
        track.masks.update((k, masks[k]) for k in between if k in masks)
