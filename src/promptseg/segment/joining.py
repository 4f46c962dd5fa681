"""Objects found by words, joined by a memory over slices on which words did not find them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import Frames, Remembering
from promptseg.segment.from_memory import MEMORY_FRAMES
from promptseg.segment.linking import Track, agreement, chained, gaps
from promptseg.segment.parts import Part

__all__ = ["MISSED", "joined"]

MISSED = 15
"""Slices on which words may miss an object that memory carries on."""


class _Link(NamedTuple):
    """Two tracks that may be one object.

    Attributes:
        before, after: their numbers.
        gap: slices between them.
        agreement: IoU of what memory makes of the first, and of the second, where the second begins.
    """

    before: int
    after: int
    gap: int
    agreement: float


def joined(
    tracks: Sequence[Track], model: Remembering, frames: Frames, least: float, returns: bool
) -> list[Track]:
    """Join tracks that are one object by a memory of the first, the surest first.

    Each track's masks condition a memory of their own, which carries the object on: to the beginnings
    of others, over `MISSED` slices at most. What it agrees with there goes on with it; of several the
    nearest, then the one that agrees best. Slices between, and those that a track missed, get the masks
    of memory.

    Args:
        tracks: see `promptseg.segment.linking.linked`.
        model: with the memory.
        frames: the slices as that model sees them.
        least: agreement (IoU) from which on two masks are of one object; such as share nothing never.
        returns: whether an object may vanish between, as in videos.
    """
    links = [
        link
        for n in range(len(tracks))
        for link in _links(tracks, n, model, frames, least, returns)
    ]
    links.sort(key=lambda link: (link.gap, -link.agreement))
    found = chained(tracks, ((link.before, link.after) for link in links))
    for track in found:
        _fill(track, model, frames)
    frames.hold(())
    return found


def _links(
    tracks: Sequence[Track],
    number: int,
    model: Remembering,
    frames: Frames,
    least: float,
    returns: bool,
) -> Iterator[_Link]:
    """The tracks that one may go on as."""
    track = tracks[number]
    last = track.last
    begins = {n: o.first for n, o in enumerate(tracks) if 0 < o.first - last <= MISSED + 1}
    if not begins:
        return
    for index, mask in _carried(track, last, max(begins.values()), model, frames):
        arrived = Part.of(mask)
        for n in (n for n, first in begins.items() if first == index):
            iou = agreement(arrived, tracks[n].part(index), least)
            if iou > 0:
                yield _Link(number, n, index - last - 1, iou)
        if not (returns or mask.any()):
            return


def _fill(track: Track, model: Remembering, frames: Frames) -> None:
    """Add what memory finds on slices within a track that have no mask."""
    for start, end in gaps(track):
        if all(index in track.masks for index in range(start, end)):
            continue
        for index, mask in _carried(track, start, end - 1, model, frames):
            if mask.any():
                track.masks[index] = mask


def _carried(
    track: Track, start: int, end: int, model: Remembering, frames: Frames
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """What memory makes of a track on the slices behind `start`, until `end`.

    Its surest mask up to `start` conditions the memory; the last ones are remembered as if they had
    been propagated.
    """
    known = [index for index in sorted(track.scores) if index <= start]
    surest = max(known, key=track.scores.__getitem__)
    memory = model.memory(frames)
    memory.take(surest, track.masks[surest])
    for index in known[-MEMORY_FRAMES:]:
        if index > surest:
            memory.recall(index, track.masks[index])
    for index in range(start + 1, end + 1):
        yield index, memory.propagate(index, end=end).mask
