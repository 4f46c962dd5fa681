"""Answers on one frame, and objects propagated through all, as `promptseg segment` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from promptseg._version import __version__
from promptseg.errors import InputError
from promptseg.formats.own_folder import OwnFolder
from promptseg.jobs.video.prompts import as_given
from promptseg.prompts import PlacedPrompt
from promptseg.segment.conditioning import conditioning_prompts
from promptseg.segment.options import SegmentOptions
from promptseg.segment.run import Run
from promptseg.segment.slice_to_slice import propagate
from promptseg.segment.video.masks import FrameMasks, Packed
from promptseg.segment.video.parts import Parts
from promptseg.segment.video.propagate import conditions_of, correct_objects, propagate_objects
from promptseg.serve.video.clip import Clip
from promptseg.serve.video.steps import ClipObject, place_of
from promptseg.work import request_hash

__all__ = ["DIRECTIONS", "Direction", "Tracking", "answer_on", "in_video"]

Direction = Literal["both", "forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("both", "forward", "backward")


def answer_on(clip: Clip, one: ClipObject, place: int) -> Packed:
    """Return the mask of an object on one frame, by its prompts there that were not propagated yet.

    Args:
        clip: the video.
        one: the object, the new prompt among its prompts.
        place: of the frame.

    Raises:
        PromptError: prompts that make no sense there.
    """
    here = [prompt for prompt in one.pending if place_of(prompt) == place]
    run = clip.run(here, clip.on((place, place)))
    masks = FrameMasks(clip.size, 1)
    if one.propagated:
        masks.found[0] = dict(one.masks)
        correct_objects(run, masks, [one.prompted], [0])
    else:
        found = propagate(
            run.visit, conditioning_prompts(run.objects[0], run.axis, run.limits), None
        )
        for frame, mask in found.masks.items():
            masks.add(0, frame, mask, found.quality.get(frame), found.presence.get(frame))
    return masks.found[0].get(place) or Packed.of(np.zeros(clip.size, dtype=bool))


class Tracking:
    """Prompts of some objects, on their way through the frames.

    Objects that were not propagated yet go together, in parts that outlive a kill; those that
    were are corrected one by one.

    Args:
        clip: the video.
        objects: with prompts that were not propagated yet.
        direction: where they are propagated to.
        own: folder of ours in which parts are kept meanwhile.

    Attributes:
        fresh: objects that are propagated for the first time.
        corrected: objects that are corrected.
        live: masks of the fresh ones so far.
        done: objects as they are afterwards, by name, as far as they are finished.
        visits: frames that were visited, and of how many.

    Raises:
        InputError: nothing to propagate.
        PromptError: prompts that make no sense.
    """

    def __init__(
        self, clip: Clip, objects: Sequence[ClipObject], direction: Direction, own: OwnFolder
    ) -> None:
        self.clip, self.direction = clip, direction
        waiting = [one for one in objects if one.is_waiting]
        if not waiting:
            raise InputError(
                "a prompt that was not tracked yet", "none", "draw a box, click, or stroke first"
            )
        self.fresh = [one for one in waiting if not one.propagated]
        self.corrected = [one for one in waiting if one.propagated]
        self.live = FrameMasks(clip.size, len(self.fresh))
        self.done: dict[str, ClipObject] = {}
        self._run = self._prepared(self.fresh) if self.fresh else None
        self._corrections = [(one, self._prepared([one])) for one in self.corrected]
        if self._run is not None:
            conditions_of(self._run)  # refused before all work
        self._parts = Parts(own, self._request())
        self.visits = (0, self._visits())

    @property
    def names(self) -> list[str]:
        """Return the names of the objects that are being propagated."""
        return [one.name for one in (*self.fresh, *self.corrected)]

    def recall(self) -> int:
        """Put back what a run that was cut off has left of the same prompts; gives the frames it did.

        Raises:
            OutputError: it left something else.
        """
        state = self._parts.recall(self.live) if self._run is not None else None
        return 0 if state is None else int(state["done"])

    def go(self, on_frame: Callable[[int, int | None], None]) -> None:
        """Propagate to the end.

        Args:
            on_frame: told visits so far, and how many there are at most; None where nothing says it.

        Raises:
            CancelledError: it is not wanted any more.
            PromptsegError: a frame that cannot be read, or parts that cannot be written.
        """
        if self._run is not None:
            total = self.visits[1]

            def visited(done: int) -> None:
                self.visits = (min(done, total), total)
                on_frame(*self.visits)

            propagate_objects(self._run, self.live, self._parts, overwrite=True, on_frame=visited)
            for number, one in enumerate(self.fresh):
                self.done[one.name] = self._settled(one, self.live.found[number])
        for one, run in self._corrections:
            run.visit.on_encoded = lambda done: on_frame(done, None)
            masks = FrameMasks(self.clip.size, 1)
            masks.found[0] = dict(one.masks)
            correct_objects(run, masks, [one.prompted], [0])
            self.done[one.name] = self._settled(one, masks.found[0])

    def so_far(self) -> dict[str, ClipObject]:
        """Return the objects as found before a stop: finished ones, and parts of the fresh ones."""
        found = dict(self.done)
        for number, one in enumerate(self.fresh):
            if one.name not in found and self.live.found[number]:
                found[one.name] = replace(one, masks=dict(self.live.found[number]))
        return found

    def clear(self) -> None:
        """Remove the parts."""
        self._parts.clear()

    def on(self, name: str, place: int) -> Packed | None:
        """Return the mask that was found of an object on a frame so far."""
        if name in self.done:
            return self.done[name].on(place)
        for number, one in enumerate(self.fresh):
            if one.name == name:
                return self.live.found[number].get(place) or one.on(place)
        return next((one.on(place) for one in self.corrected if one.name == name), None)

    def shown(self, name: str) -> dict[int, Packed] | None:
        """Return all masks that were found of an object so far; None where it was not touched."""
        if name in self.done:
            return dict(self.done[name].shown)
        for number, one in enumerate(self.fresh):
            if one.name == name:
                return {**one.answers, **self.live.found[number].copy()}
        return None

    def _settled(self, one: ClipObject, masks: dict[int, Packed]) -> ClipObject:
        return ClipObject(one.name, one.prompts, len(one.prompts), True, masks)

    def _prepared(self, objects: Sequence[ClipObject]) -> Run:
        prompts = [prompt for one in objects for prompt in one.pending]
        return self.clip.run(prompts, self._options(prompts))

    def _options(self, prompts: Sequence[PlacedPrompt]) -> SegmentOptions:
        places = [place_of(prompt) for prompt in prompts]
        first = min(places) if self.direction == "forward" else 0
        last = max(places) if self.direction == "backward" else len(self.clip.frames) - 1
        return self.clip.on((first, last))

    def _visits(self) -> int:
        if self._run is None:
            return 0
        first, last = self._run.limits
        said = {c.slice for c in conditions_of(self._run)}
        return max(1, last - min(said) + 1 + max(said) - first)

    def _request(self) -> str:
        """Hash of all that the masks depend on."""
        predictor, clip = self.clip.segmenter.predictor, self.clip
        placed = [prompt for one in self.fresh for prompt in one.pending]
        numbers = clip.frames.numbers
        return request_hash(
            {
                "version": __version__,
                "clip": clip.identity,
                "frames": [numbers.start, numbers.stop, numbers.step],
                "weights": predictor.weights_sha256,
                "encoder": predictor.encoder,
                "intensity": clip.embedded.intensity.to_json(),
                "prompts": in_video(clip, placed) if placed else {},
                "options": self._run.options.to_json() if self._run else {},
            }
        )


def in_video(clip: Clip, placed: Sequence[PlacedPrompt]) -> dict[str, Any]:
    """Return prompts as a prompt file holds them, in frames of the whole video."""
    numbers = clip.frames.numbers
    given = [_moved(prompt, numbers[place_of(prompt)]) for prompt in placed]
    return as_given(given, placed, clip.frames)


def _moved(prompt: PlacedPrompt, frame: int) -> PlacedPrompt:
    changed: PlacedPrompt = replace(cast("Any", prompt), slice=frame)
    return changed
