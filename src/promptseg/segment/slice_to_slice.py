"""The tracker that any one-slice model is: the mask of each slice prompts the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import (
    Answer,
    ConditioningPrompt,
    Correction,
    Frames,
    Resumable,
    SliceMasks,
    Tracked,
    Tracker,
)
from promptseg.segment.answer_state import answer_as_arrays, answer_from_arrays
from promptseg.segment.conditioning import answer_condition
from promptseg.segment.correct import FromNeighbours, correct
from promptseg.segment.volume import PropagationRule, advance

__all__ = ["SliceToSlice", "Sweeps", "gathered", "propagate"]


@dataclass(frozen=True)
class SliceToSlice(Resumable):
    """Propagates objects by prompts derived from their masks (MedicoSAM, section II-C).

    It remembers no slice but the one before, so that what is found of an object hangs on its own
    conditions alone.

    Attributes:
        rule: how masks reach other slices; None leaves every mask on its own slice.
    """

    rule: PropagationRule | None

    def begin(
        self,
        frames: Frames,
        conditions: Sequence[ConditioningPrompt],
        at_work: Callable[[int], None] | None = None,
        since: Mapping[str, NDArray[Any]] | None = None,
    ) -> Sweeps:
        """See `Resumable`: one sweep up through all slices, and one down.

        Slices that both may come by are not forgotten in between.
        """
        rule = self.rule if len(frames) > 1 else None
        return Sweeps(rule, frames, conditions, at_work, since)

    def correct(self, frames: Frames, correction: Correction) -> SliceMasks:
        """See `Tracker` and `promptseg.segment.correct`."""
        return correct(FromNeighbours(frames, self.rule), len(frames), correction, self.rule)


@dataclass
class _Chain:
    """One object on its way from one of its conditions in one direction."""

    number: int
    answer: Answer
    first_area: int


class Sweeps:
    """One sweep up through all slices, and one down, slice by slice over all objects.

    Both share the answers to the conditions themselves.

    Args:
        rule, frames, conditions, at_work, since: see `SliceToSlice.begin`.
    """

    def __init__(
        self,
        rule: PropagationRule | None,
        frames: Frames,
        conditions: Sequence[ConditioningPrompt],
        at_work: Callable[[int], None] | None = None,
        since: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.rule, self.frames, self.conditions = rule, frames, conditions
        self.at_work = at_work
        self._answers: dict[int, Answer] = {}
        self._chains: list[_Chain] = []
        self._at = 0
        self._turn(1)
        if since is not None:
            self._go_on(since)
        frames.hold(self._met_twice())

    def __iter__(self) -> Iterator[list[Tracked]]:
        return self

    def __next__(self) -> list[Tracked]:
        if not self._chains and not self._waiting and self._step > 0:
            self._turn(-1)
        if not self._chains and not self._waiting:
            self.frames.hold(())
            raise StopIteration
        at = self._at + self._step if self._chains else self._slice(self._waiting[0])
        self._chains = [c for c in self._chains if self._goes_on(c, at)]
        found = [Tracked(at, self.conditions[c.number].object, c.answer) for c in self._chains]
        while self._waiting and self._slice(self._waiting[0]) == at:
            number = self._waiting.pop(0)
            if number not in self._answers:
                found.append(self._answered(number))
            if self.rule is not None:
                answer = self._answers[number]
                self._chains.append(_Chain(number, answer, int(answer.mask.sum())))
        self._at = at
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Tracking`: where it is, the last answers, and those to the conditions."""
        state: dict[str, NDArray[Any]] = {
            "place": np.array([self._step, self._at]),
            "waiting": np.array(self._waiting, dtype=np.int64),
            "chains": np.array([(c.number, c.first_area) for c in self._chains], dtype=np.int64),
            "answered": np.array(list(self._answers), dtype=np.int64),
        }
        for k, chain in enumerate(self._chains):
            state |= answer_as_arrays(chain.answer, f"chain{k}")
        for number, answer in self._answers.items():
            state |= answer_as_arrays(answer, f"answer{number}")
        return state

    def _go_on(self, state: Mapping[str, NDArray[Any]]) -> None:
        device = self.frames.predictor.device
        self._step, self._at = map(int, state["place"])
        self._waiting = [int(number) for number in state["waiting"]]
        self._answers = {
            int(n): answer_from_arrays(state, f"answer{int(n)}", device) for n in state["answered"]
        }
        self._chains = [
            _Chain(int(number), answer_from_arrays(state, f"chain{k}", device), int(area))
            for k, (number, area) in enumerate(state["chains"].reshape(-1, 2))
        ]

    def _turn(self, step: int) -> None:
        """Begin a sweep."""
        self._step = step
        self._waiting = sorted(range(len(self.conditions)), key=lambda n: step * self._slice(n))

    def _met_twice(self) -> set[int]:
        """Slices that a sweep up comes by and a sweep down comes back to."""
        if self.rule is None or not self.conditions or self._step < 0:
            return set()
        lowest = min(c.slice for c in self.conditions)
        return {k for c in self.conditions for k in range(max(lowest, c.reach[0]), c.slice)}

    def _slice(self, number: int) -> int:
        return self.conditions[number].slice

    def _answered(self, number: int) -> Tracked:
        condition = self.conditions[number]
        self._turn_to(condition)
        self._answers[number] = answer_condition(self.frames, condition)
        return Tracked(condition.slice, condition.object, self._answers[number])

    def _goes_on(self, chain: _Chain, at: int) -> bool:
        """Whether the object is on the next slice too; then the chain has its answer there."""
        assert self.rule is not None
        condition = self.conditions[chain.number]
        end = condition.reach[1 if self._step > 0 else 0]
        if self._step * at > self._step * end:
            return False
        self._turn_to(condition)
        following = advance(self.frames, chain.answer, at, end, self.rule, condition.bounds)
        if following is None or not self.rule.continues(
            chain.first_area, chain.answer.mask, following.mask, following.iou
        ):
            return False
        chain.answer = following
        return True

    def _turn_to(self, condition: ConditioningPrompt) -> None:
        if self.at_work:
            self.at_work(condition.object)


def gathered(found: Iterable[Tracked], objects: int) -> list[SliceMasks]:
    """Return the masks that a tracker found, object by object, without frames searched in vain."""
    masks = [SliceMasks() for _ in range(objects)]
    for one in found:
        known = masks[one.object]
        if known.masks and one.answer.presence is not None and not one.answer.mask.any():
            continue
        known.add(one.frame, one.answer)
    return masks


def propagate(
    stack: Frames, conditions: Iterable[ConditioningPrompt], rule: PropagationRule | None
) -> SliceMasks:
    """Propagate one object to every slice it reaches; return its masks, the union over its conditions.

    Args:
        stack: the slices.
        conditions: where it starts; see `promptseg.segment.conditioning.conditioning_prompts`.
        rule: how masks reach other slices; None leaves every mask on its own slice.
    """
    tracker: Tracker = SliceToSlice(rule)
    return gathered(tracker.track(stack, list(conditions)), 1)[0]
