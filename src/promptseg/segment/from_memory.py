"""Corrections in the memory of a model: see `promptseg.segment.correct`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol import Answer, Correction, Frames, ObjectMemory, SlicePrompt
from promptseg.prompts import Points
from promptseg.segment.follow import Seed, prompt_of_clicks, prompt_of_seed

__all__ = ["FromMemory"]


@dataclass
class FromMemory:
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
