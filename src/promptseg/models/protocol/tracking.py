"""A model that propagates objects through frames: slices of a volume, or frames of a video."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from promptseg.models.protocol.embedding import Embedding
from promptseg.models.protocol.prompt import SlicePrompt
from promptseg.models.protocol.slices import SliceModel
from promptseg.prompts import Box, Mask, ObjectPrompts, Points

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Answer",
    "Bounds",
    "ConditioningPrompt",
    "Correction",
    "Frames",
    "ObjectMemory",
    "Remembering",
    "Resumable",
    "SliceMasks",
    "Tracked",
    "Tracker",
    "Tracking",
]

Bounds = tuple[float, float, float, float]


class Frames(Protocol):
    """Frames in their order, encoded when they are first asked for."""

    def __len__(self) -> int:
        """How many there are."""

    @property
    def predictor(self) -> SliceModel:
        """Return the model that encodes the frames."""

    @property
    def pixel(self) -> tuple[float, float]:
        """Return the width and height of the frames' pixels."""

    def embedding(self, index: int, towards: int | None = None) -> Embedding:
        """Return the embedding of one frame; on the way `towards` another, more may be encoded too."""

    def hold(self, frames: Collection[int]) -> None:
        """Keep frames that will be asked for again: they are not forgotten until others are held."""


@dataclass(frozen=True)
class Answer:
    """Answer of a model for one object on one frame.

    Attributes:
        mask: (rows, columns) boolean.
        iou: predicted IoU; 1 for a mask somebody drew.
        logits: (1, 1, h, w) in the network's input; None for a drawn mask.
        presence: logit that the object is on the frame at all; None where the model does not say. One
            that says so answers with an empty mask where it looked in vain.
    """

    mask: NDArray[np.bool_]
    iou: float = 1.0
    logits: Tensor | None = None
    presence: float | None = None


@dataclass(frozen=True)
class ConditioningPrompt:
    """Prompts of one object on one frame, from which it is propagated to others.

    Attributes:
        slice: the frame.
        box: a rectangle on it.
        points: the clicks on it.
        mask: a mask on it, as drawn or as a mask prompt.
        reach: first and last frame that what is said here may spread to.
        bounds: XYXY that boxes and masks never leave.
        interpolated: whether the box is made of markers on other slices, no prompt of its own.
        object: number of the object, from 0.
    """

    slice: int
    box: Box | None = None
    points: Points | None = None
    mask: Mask | None = None
    reach: tuple[int, int] = (0, 0)
    bounds: Bounds | None = None
    interpolated: bool = False
    object: int = 0


@dataclass
class SliceMasks:
    """Masks of one object by slice.

    Attributes:
        masks: slice index -> (rows, columns) mask; a copy of it (`copy.copy`) may be changed by itself.
        quality: slice index -> predicted IoU.
        presence: slice index -> logit that the object is there, where a model has said so.
    """

    masks: MutableMapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    quality: dict[int, float] = field(default_factory=dict)
    presence: dict[int, float] = field(default_factory=dict)

    def copy(self) -> SliceMasks:
        """Copy the masks, so that the copy can be changed."""
        return SliceMasks(copy(self.masks), dict(self.quality), dict(self.presence))

    def add(self, index: int, answer: Answer) -> None:
        """Join a mask to what the slice has already."""
        mask, quality = answer.mask, answer.iou
        if index in self.masks:
            mask = mask | self.masks[index]
            quality = max(quality, self.quality[index])
        self._say(index, answer)
        self.masks[index], self.quality[index] = mask, quality

    def replace(self, index: int, answer: Answer) -> None:
        """Put a mask in place of what the slice has."""
        self.clear(index)
        self._say(index, answer)
        self.masks[index], self.quality[index] = answer.mask, answer.iou

    def clear(self, index: int) -> None:
        """Take a slice out."""
        self.masks.pop(index, None)
        self.quality.pop(index, None)
        self.presence.pop(index, None)

    def _say(self, index: int, answer: Answer) -> None:
        if answer.presence is not None:
            known = self.presence.get(index, answer.presence)
            self.presence[index] = max(answer.presence, known)


@dataclass(frozen=True)
class Correction:
    """Prompts that correct one object.

    Attributes:
        prompts: placed on some of its frames.
        before: its masks so far.
        prompted: frames that the user's own prompts have answered.
        clicked: those of them that clicks alone have answered.
        limits: first and last frame that may change.
        agreement: IoU of new and old mask from which on nothing more is computed.
    """

    prompts: ObjectPrompts
    before: SliceMasks
    prompted: Collection[int]
    clicked: Collection[int]
    limits: tuple[int, int]
    agreement: float = 0.9


@dataclass(frozen=True)
class Tracked:
    """Answer found for one object on one frame; of several answers there, the union counts.

    Attributes:
        frame: where.
        object: number of the object.
        answer: what.
    """

    frame: int
    object: int
    answer: Answer


@runtime_checkable
class Tracker(Protocol):
    """Propagates any number of objects through frames.

    It goes frame by frame over all objects, so that each frame is encoded once whatever their number,
    and it remembers a bounded number of frames, whatever their number. Objects do not see each other
    unless the model is made so.
    """

    def track(
        self,
        frames: Frames,
        conditions: Sequence[ConditioningPrompt],
        at_work: Callable[[int], None] | None = None,
    ) -> Iterator[Tracked]:
        """Propagate objects from the frames they are conditioned on, to either side.

        Args:
            frames: in their order.
            conditions: on any frames, of any objects, in any order.
            at_work: told the number of the object whenever one is turned to.

        Yields:
            Answers, as they are found.
        """

    def correct(self, frames: Frames, correction: Correction) -> SliceMasks:
        """Correct one object by prompts on some of its frames; return its masks.

        Raises:
            PromptError: prompts that correct nothing.
        """


class ObjectMemory(Protocol):
    """Memory of a model of one object in some frames: bounded, whatever their number.

    Frames that somebody said something of condition all others. A tracker decides which frames are
    propagated, and in which order.
    """

    def prompt(
        self, frame: int, prompt: SlicePrompt, afresh: bool = True, down: bool = False
    ) -> Answer:
        """Answer prompts on a frame, which conditions others from now on.

        Args:
            frame: which.
            prompt: what is said; `logits` of an earlier answer there are fed back to the model.
            afresh: as on a 2D image; else in the light of what is remembered.
            down: whether the frames propagated before it come after it.
        """

    def take(self, frame: int, mask: NDArray[np.bool_]) -> Answer:
        """Take a (rows, columns) mask that is right as it is; it conditions others from now on."""

    def propagate(self, frame: int, down: bool = False, end: int | None = None) -> Answer:
        """Propagate the object to a frame without prompts.

        Args:
            frame: the next one on the way.
            down: whether the way goes down through frames.
            end: where it leads; frames on it may be encoded ahead.
        """

    def recall(self, frame: int, mask: NDArray[np.bool_], down: bool = False) -> None:
        """Remember a frame that was propagated earlier as the next one on the way.

        Args:
            frame: which; it is encoded again where its embedding is gone.
            mask: (rows, columns) what was found there.
            down: whether the way goes down through frames.
        """

    def forget(self) -> None:
        """Forget all frames that were propagated; the next way begins."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that is remembered, bit for bit, as arrays of numbers."""

    def go_on(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Remember what another memory of the same frames did."""


@runtime_checkable
class Remembering(Protocol):
    """A `SliceModel` with a memory of its own."""

    @property
    def object_bytes(self) -> int:
        """Return the bytes that the memory of one object takes at most, beside the masks of prompted
        frames.
        """

    def memory(self, frames: Frames, official: bool = False) -> ObjectMemory:
        """Return an empty memory of one object.

        Args:
            frames: encoded by this model.
            official: follow the model's official code where ours does better.
        """


class Tracking(Protocol):
    """Objects being propagated, frame by frame; it can be put aside between two frames."""

    def __iter__(self) -> Iterator[list[Tracked]]:
        """What is found, one frame after the other."""

    def __next__(self) -> list[Tracked]:
        """What is found on the next frame; maybe nothing."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that it takes to go on from here, as arrays of numbers; its size does not grow."""


@runtime_checkable
class Resumable(Tracker, Protocol):
    """A tracker that goes on where another process was cut off, with the same results."""

    def begin(
        self,
        frames: Frames,
        conditions: Sequence[ConditioningPrompt],
        at_work: Callable[[int], None] | None = None,
        since: Mapping[str, NDArray[Any]] | None = None,
    ) -> Tracking:
        """Begin what `track` does, frame by frame.

        Args:
            frames, conditions, at_work: as of `track`.
            since: a state of the same frames and conditions, to go on from.
        """

    def track(
        self,
        frames: Frames,
        conditions: Sequence[ConditioningPrompt],
        at_work: Callable[[int], None] | None = None,
    ) -> Iterator[Tracked]:
        """See `Tracker`."""
        try:
            for found in self.begin(frames, conditions, at_work):
                yield from found
        finally:
            frames.hold(())
