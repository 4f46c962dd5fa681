"""Corrections in the memory of a model: see `promptseg.segment.correct`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import (
    Answer,
    ConditioningPrompt,
    Correction,
    Frames,
    ObjectMemory,
    SlicePrompt,
)
from promptseg.prompts import Points
from promptseg.segment.conditioning import prompt_of_clicks, prompt_of_condition

__all__ = ["FromMemory"]

MEMORY_FRAMES = 6
"""Slices before a corrected one that are remembered again: SAM 2 looks at the maps of as many."""


@dataclass
class FromMemory:
    """Corrections: see `promptseg.segment.correct.Means`.

    Attributes:
        frames: all there are.
        memory: of the object.
        correction: what is asked.
        returns: whether the object may vanish and come back.
        taken: masks by frame that condition the model.
    """

    frames: Frames
    memory: ObjectMemory
    correction: Correction
    returns: bool = False
    taken: dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for slice_ in self.correction.prompts.slices:
            for k in self._settled_around(slice_):
                if k is not None and k not in self.taken:
                    self._take(k, self.correction.before.masks[k])

    def answer_condition(self, condition: ConditioningPrompt) -> Answer:
        """See `Means`."""
        asked = prompt_of_condition(condition, self.frames.predictor.card)
        if not isinstance(asked, SlicePrompt):
            return self._take(condition.slice, asked)
        answer = self.memory.prompt(condition.slice, asked)
        self.taken[condition.slice] = answer.mask
        return answer

    def answer_clicks(
        self, slice_: int, points: Points, mask: NDArray[np.bool_], boxed: bool
    ) -> Answer:
        """See `Means`: in the light of what was remembered there, with the mask so far fed back."""
        asked = prompt_of_clicks(points, mask, boxed)
        down = self._recall_way_to(slice_)
        answer = self.memory.prompt(slice_, asked, afresh=not self.taken, down=down)
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
        if not (self.returns or answer.mask.any()):
            return None
        return self.memory.propagate(index, step < 0, end)

    def _settled_around(self, slice_: int) -> tuple[int | None, int | None]:
        """The nearest slices with a mask that the user settled before, below and above."""
        before, corrected = self.correction.before.masks, self.correction.prompts.slices
        settled = {k for k in self.correction.prompted if k in before} - corrected
        below = max((k for k in settled if k < slice_), default=None)
        return below, min((k for k in settled if k > slice_), default=None)

    def _recall_way_to(self, slice_: int) -> bool:
        """Remember the last slices on the way that came by a slice; whether it was the way down.

        Their maps are made again from their masks: they are encoded once more where they are forgotten.
        """
        below, above = self._settled_around(slice_)
        down = below is None and above is not None
        start, step = (above, -1) if down else (below, 1)
        self.memory.forget()
        if start is not None:
            before = self.correction.before.masks
            for k in range(start + step, slice_, step)[-MEMORY_FRAMES:]:
                if k in before:
                    self.memory.recall(k, before[k], down)
        return down

    def _take(self, slice_: int, mask: NDArray[np.bool_]) -> Answer:
        self.taken[slice_] = mask
        return self.memory.take(slice_, mask)
