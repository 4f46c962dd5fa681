"""Gaps of objects, filled in by a tracker that shows everything on every frame it is asked for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from promptseg.models.protocol import Answer, ConditioningPrompt, Instance, Tracked
from promptseg.segment.link_by_propagation import linked_by_propagation
from promptseg.segment.linking import Track

SIZE = (256, 256)


def tracked(visit: Any, conditions: Sequence[ConditioningPrompt]) -> Iterator[Tracked]:
    for condition in conditions:
        assert condition.reach is not None
        first, last = condition.reach
        for frame in range(first, last + 1):
            yield Tracked(frame, condition.object, Answer(np.ones(SIZE, bool)))


def peak(missed: int) -> int:
    """The most bytes at once while a gap of so many frames was filled in."""
    track = Track()
    for frame in (0, missed + 1):
        track.add(frame, Instance(np.ones(SIZE, bool), 0.9, (0.0, 0.0, 256.0, 256.0)), fill=False)
    visit = SimpleNamespace(embedded=SimpleNamespace(image=SimpleNamespace(kind="video")))
    run: Any = SimpleNamespace(visit=visit, tracker=SimpleNamespace(track=tracked))
    tracemalloc.start()
    try:
        (joined,) = linked_by_propagation(run, [track], 0.5)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(joined.masks) == [*range(missed + 2)]
    assert all(mask.all() for mask in joined.masks.values())
    return most


def test_masks_of_a_long_gap_are_packed() -> None:
    assert peak(200) - peak(50) < 150 * SIZE[0] * SIZE[1] / 10
