"""The tracker of models that remember: each frame is seen in the light of those before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import (
    Answer,
    Conditioning,
    Correction,
    Frames,
    ObjectMemory,
    Remembering,
    SliceMasks,
    SlicePrompt,
    Tracked,
)
from promptseg.models.protocol.tracking import Bounds
from promptseg.prompts import Points
from promptseg.segment.correct import correct
from promptseg.segment.follow import Seed, answer_seed, prompt_of_clicks, prompt_of_seed
from promptseg.segment.volume import PropagationRule, inside

__all__ = ["WithMemory"]


@dataclass(frozen=True)
class WithMemory:
    """Follows objects with the memory of the frames' own model, one for each object.

    All frames that somebody said something of are answered first, and condition all others. Then the
    objects are followed up from the lowest of these, and down from it; where an object ended before
    another such frame, also down from that one. Every way begins with these frames alone in memory, so
    that it does not matter what was followed before.

    Attributes:
        model: what remembers.
        rule: where an object ends; None where it may vanish and come back, as in videos.
    """

    model: Remembering
    rule: PropagationRule | None

    def track(
        self,
        frames: Frames,
        conditions: Sequence[Conditioning],
        at_work: Callable[[int], None] | None = None,
    ) -> Iterator[Tracked]:
        """See `Tracker`."""
        of_object: dict[int, list[Conditioning]] = defaultdict(list)
        for condition in conditions:
            of_object[condition.object].append(condition)
        followed = [
            _Followed(number, said, frames, self.model.memory(frames), self.rule)
            for number, said in sorted(of_object.items())
        ]
        frames.hold(_met_twice(followed))
        try:
            yield from _answered(followed, at_work)
            for step in (1, -1):
                yield from _swept(followed, step, at_work)
        finally:
            frames.hold(())

    def correct(self, frames: Frames, correction: Correction) -> SliceMasks:
        """See `Tracker` and `promptseg.segment.correct`.

        Corrected frames condition the model, and so do the nearest frames that were settled before.
        """
        rule = self.rule or PropagationRule()
        means = _FromMemory(frames, self.model.memory(frames), correction)
        return correct(means, len(frames), correction, rule)


@dataclass
class _Followed:
    """One object on its way.

    Attributes:
        number: which object.
        said: what somebody said of it.
        frames: all there are.
        memory: of the object.
        rule: where it ends.
        answers: to what was said, by frame.
        done: frames that were followed.
        last: the answer on the frame before; None where the object has ended.
        first_area: of the mask that its way began with.
    """

    number: int
    said: list[Conditioning]
    frames: Frames
    memory: ObjectMemory
    rule: PropagationRule | None
    answers: dict[int, Answer] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    last: Answer | None = None
    first_area: int = 0

    @property
    def prompted(self) -> list[int]:
        """Frames that somebody said something of, in order."""
        return sorted({c.slice for c in self.said})

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last frame that may be reached."""
        return min(c.reach[0] for c in self.said), max(c.reach[1] for c in self.said)

    def answer(self, frame: int) -> Tracked:
        """To what was said of one frame."""
        here = [c for c in self.said if c.slice == frame]
        answer = self._only(here[0]) if len(here) == 1 else self._joined(here)
        self.answers[frame] = answer
        return Tracked(frame, self.number, answer)

    def _only(self, condition: Conditioning) -> Answer:
        asked = prompt_of_seed(condition, self.frames.predictor.card)
        if not isinstance(asked, SlicePrompt):
            return self.memory.take(condition.slice, inside(asked, condition.bounds))
        answer = self.memory.prompt(condition.slice, asked)
        mask = inside(answer.mask, condition.bounds)
        if mask.sum() == answer.mask.sum():
            return answer
        return replace(self.memory.take(condition.slice, mask), iou=answer.iou)

    def _joined(self, conditions: Sequence[Conditioning]) -> Answer:
        """Of several things said of one frame the union counts, and is remembered."""
        parts = [answer_seed(self.frames, condition) for condition in conditions]
        union = np.logical_or.reduce([part.mask for part in parts])
        joined = self.memory.take(conditions[0].slice, union)
        return replace(joined, iou=max(part.iou for part in parts))

    def begin(self) -> None:
        """A new way, with nothing but conditioning frames in memory."""
        self.last = None
        self.memory.forget()

    def step(self, frame: int, down: bool) -> Answer | None:
        """The object on the next frame of the way; None where it was not followed, or is not there."""
        if frame in self.answers:
            self.last = self.answers[frame]
            self.first_area = int(self.last.mask.sum())
            return None
        before = self.last
        if before is None:
            return None
        reaching = [c for c in self.said if c.reach[0] <= frame <= c.reach[1]]
        if not reaching:
            return None
        if frame in self.done:
            self.begin()
            return None
        answer = self.memory.follow(frame, down, self.ends[0 if down else 1])
        self.done.add(frame)
        mask = inside(answer.mask, _bounds(reaching))
        answer = replace(answer, mask=mask)
        if self.rule and not self.rule.continues(self.first_area, before.mask, mask, answer.iou):
            self.begin()
            return None
        self.last = answer
        return answer if mask.any() else None


def _answered(
    followed: Sequence[_Followed], at_work: Callable[[int], None] | None
) -> Iterator[Tracked]:
    """The answers to all that was said, frame by frame over all objects."""
    for frame in sorted({k for one in followed for k in one.prompted}):
        for one in followed:
            if frame in one.prompted:
                if at_work:
                    at_work(one.number)
                yield one.answer(frame)


def _swept(
    followed: Sequence[_Followed], step: int, at_work: Callable[[int], None] | None
) -> Iterator[Tracked]:
    """One way through all frames, frame by frame over all objects."""
    if not followed:
        return
    for one in followed:
        one.begin()
    low = min(one.ends[0] if step < 0 else one.prompted[0] for one in followed)
    high = max(one.prompted[-1] if step < 0 else one.ends[1] for one in followed)
    for frame in range(low, high + 1)[::step]:
        for one in followed:
            if at_work:
                at_work(one.number)
            if answer := one.step(frame, step < 0):
                yield Tracked(frame, one.number, answer)


def _met_twice(followed: Sequence[_Followed]) -> set[int]:
    """Frames that are come back to: prompted ones, and those where one object goes up, another down."""
    lowest = min((one.prompted[0] for one in followed), default=0)
    found = {k for one in followed for k in one.prompted}
    for one in followed:
        found.update(range(max(lowest, one.ends[0]), one.prompted[0]))
    return found


def _bounds(conditions: Sequence[Conditioning]) -> Bounds | None:
    """The rectangle around those of conditions; None where one of them has none."""
    rectangles = [c.bounds for c in conditions if c.bounds is not None]
    if len(rectangles) < len(conditions):
        return None
    x0, y0, x1, y1 = zip(*rectangles, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


@dataclass
class _FromMemory:
    """Corrections: see `promptseg.segment.correct.Means`.

    Attributes:
        frames: all there are.
        memory: of the object.
        correction: what is asked.
        taken: masks by frame that condition the model.
    """

    frames: Frames
    memory: ObjectMemory
    correction: Correction
    taken: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        corrected = self.correction.prompts.slices
        before = self.correction.before.masks
        settled = sorted({k for k in self.correction.prompted if k in before} - corrected)
        for slice_ in corrected:
            below = [k for k in settled if k < slice_][-1:]
            above = [k for k in settled if k > slice_][:1]
            for k in below + above:
                if k not in self.taken:
                    self._take(k, before[k])

    def answer_seed(self, seed: Seed) -> Answer:
        """See `Means`."""
        asked = prompt_of_seed(seed, self.frames.predictor.card)
        if not isinstance(asked, SlicePrompt):
            return self._take(seed.slice, asked)
        answer = self.memory.prompt(seed.slice, asked)
        self.taken[seed.slice] = answer.mask
        return answer

    def answer_clicks(
        self, slice_: int, points: Points, mask: NDArray[np.bool_], boxed: bool
    ) -> Answer:
        """See `Means`: in the light of what is settled, with the mask so far fed back."""
        asked = prompt_of_clicks(points, mask, boxed)
        answer = self.memory.prompt(slice_, asked, afresh=not self.taken)
        self.taken[slice_] = answer.mask
        return answer

    def begin(self, answers: dict[int, Answer]) -> None:
        """See `Means`."""
        for slice_, answer in answers.items():
            if not np.array_equal(answer.mask, self.taken.get(slice_, ~answer.mask)):
                self._take(slice_, answer.mask)
        self.memory.forget()

    def advance(self, answer: Answer, index: int, end: int, step: int) -> Answer | None:
        """See `Means`."""
        return self.memory.follow(index, step < 0, end) if answer.mask.any() else None

    def _take(self, slice_: int, mask: NDArray[np.bool_]) -> Answer:
        self.taken[slice_] = mask
        return self.memory.take(slice_, mask)
