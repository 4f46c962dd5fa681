"""The tracker that any one-slice model is: the mask of each slice prompts the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from promptseg.models.protocol import (
    Answer,
    Conditioning,
    Correction,
    Frames,
    SliceMasks,
    Tracked,
    Tracker,
)
from promptseg.segment.correct import FromNeighbours, correct
from promptseg.segment.follow import answer_seed
from promptseg.segment.volume import PropagationRule, advance

__all__ = ["SliceToSlice", "follow", "gathered"]


@dataclass(frozen=True)
class SliceToSlice:
    """Follows objects by prompts derived from their masks (MedicoSAM, section II-C).

    It remembers no slice but the one before, so that what is found of an object hangs on its own
    conditions alone.

    Attributes:
        rule: how masks reach other slices; None leaves every mask on its own slice.
    """

    rule: PropagationRule | None

    def track(
        self,
        frames: Frames,
        conditions: Sequence[Conditioning],
        at_work: Callable[[int], None] | None = None,
    ) -> Iterator[Tracked]:
        """See `Tracker`: one sweep up through all slices, and one down.

        Slices that both may come by are not forgotten in between.
        """
        sweeps = _Sweeps(self.rule if len(frames) > 1 else None, frames, conditions, at_work)
        frames.hold(sweeps.met_twice())
        try:
            yield from sweeps.run(1)
            yield from sweeps.run(-1)
        finally:
            frames.hold(())

    def correct(self, frames: Frames, correction: Correction) -> SliceMasks:
        """See `Tracker` and `promptseg.segment.correct`."""
        return correct(FromNeighbours(frames, self.rule), len(frames), correction, self.rule)


@dataclass
class _Chain:
    """One object on its way from one of its conditions in one direction."""

    condition: Conditioning
    answer: Answer
    first_area: int


@dataclass
class _Sweeps:
    """What both sweeps share: the answers to the conditions themselves."""

    rule: PropagationRule | None
    frames: Frames
    conditions: Sequence[Conditioning]
    at_work: Callable[[int], None] | None
    answers: dict[int, Answer] = field(default_factory=dict)

    def met_twice(self) -> set[int]:
        """Slices that a sweep up comes by and a sweep down comes back to."""
        if self.rule is None or not self.conditions:
            return set()
        lowest = min(c.slice for c in self.conditions)
        return {k for c in self.conditions for k in range(max(lowest, c.reach[0]), c.slice)}

    def run(self, step: int) -> Iterator[Tracked]:
        """One sweep, slice by slice over all objects."""
        waiting = sorted(range(len(self.conditions)), key=lambda n: step * self._slice(n))
        chains: list[_Chain] = []
        at = 0
        while chains or waiting:
            at = at + step if chains else self._slice(waiting[0])
            chains = [c for c in chains if self._goes_on(c, at, step)]
            yield from (Tracked(at, c.condition.object, c.answer) for c in chains)
            while waiting and self._slice(waiting[0]) == at:
                number = waiting.pop(0)
                if number not in self.answers:
                    yield self._answered(number)
                if self.rule is not None:
                    answer = self.answers[number]
                    area = int(answer.mask.sum())
                    chains.append(_Chain(self.conditions[number], answer, area))

    def _slice(self, number: int) -> int:
        return self.conditions[number].slice

    def _answered(self, number: int) -> Tracked:
        condition = self.conditions[number]
        self._turn_to(condition)
        self.answers[number] = answer_seed(self.frames, condition)
        return Tracked(condition.slice, condition.object, self.answers[number])

    def _goes_on(self, chain: _Chain, at: int, step: int) -> bool:
        """Whether the object is on the next slice too; then the chain has its answer there."""
        assert self.rule is not None
        condition = chain.condition
        end = condition.reach[1 if step > 0 else 0]
        if step * at > step * end:
            return False
        self._turn_to(condition)
        following = advance(self.frames, chain.answer, at, end, self.rule, condition.bounds)
        if following is None or not self.rule.continues(
            chain.first_area, chain.answer.mask, following.mask, following.iou
        ):
            return False
        chain.answer = following
        return True

    def _turn_to(self, condition: Conditioning) -> None:
        if self.at_work:
            self.at_work(condition.object)


def gathered(found: Iterable[Tracked], objects: int) -> list[SliceMasks]:
    """What was tracked, object by object."""
    masks = [SliceMasks() for _ in range(objects)]
    for one in found:
        masks[one.object].add(one.frame, one.answer)
    return masks


def follow(
    stack: Frames, seeds: Iterable[Conditioning], rule: PropagationRule | None
) -> SliceMasks:
    """Masks of one object on every slice it reaches; the union over its seeds.

    Args:
        stack: the slices.
        seeds: where it starts; see `promptseg.segment.follow.seeds_of`.
        rule: how masks reach other slices; None leaves every mask on its own slice.
    """
    tracker: Tracker = SliceToSlice(rule)
    return gathered(tracker.track(stack, list(seeds)), 1)[0]
