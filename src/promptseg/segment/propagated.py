"""One object on its way through frames, in the memory of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import (
    Answer,
    ConditioningPrompt,
    Frames,
    ObjectMemory,
    SlicePrompt,
    Tracked,
)
from promptseg.models.protocol.tracking import Bounds
from promptseg.segment.answer_state import answer_as_arrays, answer_from_arrays
from promptseg.segment.conditioning import answer_condition, prompt_of_condition
from promptseg.segment.volume import PropagationRule, inside

__all__ = ["PropagatedObject"]


@dataclass
class PropagatedObject:
    """One object on its way through frames.

    Attributes:
        number: which object.
        said: what somebody said of it.
        frames: all there are.
        memory: of the object.
        rule: where it ends.
        answers: to what was said, by frame.
        done: frames that it was propagated to.
        last: the answer on the frame before; None where the object has ended.
        first_area: of the mask that its way began with.
    """

    number: int
    said: list[ConditioningPrompt]
    frames: Frames
    memory: ObjectMemory
    rule: PropagationRule | None
    answers: dict[int, Answer] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    last: Answer | None = None
    first_area: int = 0

    @property
    def prompted(self) -> list[int]:
        """Return the frames with prompts of the object, in order."""
        return sorted({c.slice for c in self.said})

    @property
    def ends(self) -> tuple[int, int]:
        """Return the first and the last frame that may be reached."""
        return min(c.reach[0] for c in self.said), max(c.reach[1] for c in self.said)

    def answer(self, frame: int) -> Tracked:
        """Answer the prompts on one frame."""
        here = [c for c in self.said if c.slice == frame]
        answer = self._only(here[0]) if len(here) == 1 else self._joined(here)
        self.answers[frame] = answer
        return Tracked(frame, self.number, answer)

    def _only(self, condition: ConditioningPrompt) -> Answer:
        asked = prompt_of_condition(condition, self.frames.predictor.card)
        if not isinstance(asked, SlicePrompt):
            return self.memory.take(condition.slice, inside(asked, condition.bounds))
        answer = self.memory.prompt(condition.slice, asked)
        mask = inside(answer.mask, condition.bounds)
        if mask.sum() == answer.mask.sum():
            return answer
        return replace(self.memory.take(condition.slice, mask), iou=answer.iou)

    def _joined(self, conditions: Sequence[ConditioningPrompt]) -> Answer:
        """Of several things said of one frame the union counts, and is remembered."""
        parts = [answer_condition(self.frames, condition) for condition in conditions]
        union = np.logical_or.reduce([part.mask for part in parts])
        joined = self.memory.take(conditions[0].slice, union)
        return replace(joined, iou=max(part.iou for part in parts))

    def begin(self) -> None:
        """Begin a new way, with nothing but conditioning frames in memory."""
        self.last = None
        self.memory.forget()

    def step(self, frame: int, down: bool) -> Answer | None:
        """Take the object to the next frame; None where it was not propagated to, or is not there."""
        if frame in self.answers:
            self.last = self.answers[frame]
            self.first_area = int(self.last.mask.sum())
            return None
        before = self.last
        if before is None:
            return None
        reaching = [c for c in self.said if c.reach[0] <= frame <= c.reach[1]]
        if not reaching or frame in self.done:
            self.begin()
            return None
        answer = self.memory.propagate(frame, down, self.ends[0 if down else 1])
        mask = inside(answer.mask, _bounds(reaching))
        answer = replace(answer, mask=mask)
        if self.rule and not self.rule.continues(self.first_area, before.mask, mask, answer.iou):
            self.begin()  # not done: a way from the other side may reach this frame
            return None
        self.done.add(frame)
        self.last = answer
        return answer

    def state(self, name: str) -> dict[str, NDArray[Any]]:
        """Return all that it takes to go on; the names of the arrays begin with `name`."""
        done = np.zeros(len(self.frames), dtype=bool)
        done[sorted(self.done)] = True
        state: dict[str, NDArray[Any]] = {
            f"{name}.answered": np.array(sorted(self.answers), np.int64),
            f"{name}.done": np.packbits(done),
            f"{name}.way": np.array([self.last is not None, self.first_area], np.int64),
        }
        for frame, answer in self.answers.items():
            state |= answer_as_arrays(answer, f"{name}.answer{frame}", logits=False)
        if self.last is not None:
            state |= answer_as_arrays(self.last, f"{name}.last", logits=False)
        return state | {f"{name}.memory.{k}": v for k, v in self.memory.state().items()}

    def go_on(self, state: Mapping[str, NDArray[Any]], name: str) -> None:
        """Take over a `state`, and go on from there."""
        device = self.frames.predictor.device
        self.answers = {
            frame: answer_from_arrays(state, f"{name}.answer{frame}", device)
            for frame in state[f"{name}.answered"].tolist()
        }
        done = np.unpackbits(state[f"{name}.done"], count=len(self.frames))
        self.done = set(np.flatnonzero(done).tolist())
        on_its_way, self.first_area = state[f"{name}.way"].tolist()
        self.last = answer_from_arrays(state, f"{name}.last", device) if on_its_way else None
        own = f"{name}.memory."
        self.memory.go_on({k[len(own) :]: v for k, v in state.items() if k.startswith(own)})


def _bounds(conditions: Sequence[ConditioningPrompt]) -> Bounds | None:
    """The rectangle around those of conditions; None where one of them has none."""
    rectangles = [c.bounds for c in conditions if c.bounds is not None]
    if len(rectangles) < len(conditions):
        return None
    x0, y0, x1, y1 = zip(*rectangles, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
