"""Objects propagated with memory, frame by frame: what was said first, then one way up, one down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import Frames, Tracked
from promptseg.segment.propagated import PropagatedObject

__all__ = ["Ways"]

_SAID, _UP, _DOWN = range(3)


class Ways:
    """See `promptseg.models.protocol.Tracking`.

    Args:
        propagated: the objects.
        frames: all there are.
        at_work: told the number of the object whenever one is turned to.
        since: a state of the same objects and frames, to go on from.
    """

    def __init__(
        self,
        propagated: Sequence[PropagatedObject],
        frames: Frames,
        at_work: Callable[[int], None] | None = None,
        since: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.propagated, self.frames, self.at_work = propagated, frames, at_work
        self._stages = _stages(propagated)
        self._stage, self._at = _SAID, 0
        if since is not None:
            self._stage, self._at = map(int, since["place"])
            for one in propagated:
                one.go_on(since, f"object{one.number}")
        frames.hold(_met_twice(propagated))

    def __iter__(self) -> Ways:
        return self

    def __next__(self) -> list[Tracked]:
        while self._at < sum(map(len, self._stages)):
            stage, frame = self._place()
            self._at += 1
            if stage != self._stage:
                self._stage = stage
                for one in self.propagated:
                    one.begin()
            if found := self._on(frame):
                return found
        self.frames.hold(())
        raise StopIteration

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Tracking`."""
        state: dict[str, NDArray[Any]] = {"place": np.array([self._stage, self._at])}
        for one in self.propagated:
            state |= one.state(f"object{one.number}")
        return state

    def _place(self) -> tuple[int, int]:
        """The stage it is in, and the frame it has come to."""
        at = self._at
        for stage, frames in enumerate(self._stages):
            if at < len(frames):
                return stage, frames[at]
            at -= len(frames)
        raise AssertionError("asked before the end")

    def _on(self, frame: int) -> list[Tracked]:
        """What is found on a frame: of all objects, so that it is encoded once."""
        found = []
        for one in self.propagated:
            if self._stage == _SAID:
                if frame in one.prompted:
                    self._turn_to(one)
                    found.append(one.answer(frame))
                continue
            self._turn_to(one)
            if answer := one.step(frame, self._stage == _DOWN):
                found.append(Tracked(frame, one.number, answer))
        return found

    def _turn_to(self, one: PropagatedObject) -> None:
        if self.at_work:
            self.at_work(one.number)


def _stages(
    propagated: Sequence[PropagatedObject],
) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """The frames of each stage, in order."""
    if not propagated:
        return (), (), ()
    low = min(one.ends[0] for one in propagated)
    high = max(one.ends[1] for one in propagated)
    first = min(one.prompted[0] for one in propagated)
    last = max(one.prompted[-1] for one in propagated)
    return sorted(_said(propagated)), range(first, high + 1), range(last, low - 1, -1)


def _said(propagated: Sequence[PropagatedObject]) -> set[int]:
    """Frames that somebody said something of."""
    return {k for one in propagated for k in one.prompted}


def _met_twice(propagated: Sequence[PropagatedObject]) -> set[int]:
    """Frames that are come back to: prompted ones, and those where one object goes up, another down."""
    found = _said(propagated)
    lowest = min(found, default=0)
    for one in propagated:
        found.update(range(max(lowest, one.ends[0]), one.prompted[0]))
    return found
