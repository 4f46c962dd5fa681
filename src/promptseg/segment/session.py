"""Interactive work on one image: what annotators' tools drive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from promptseg._moved import old_method
from promptseg.errors import InputError, PromptError
from promptseg.formats.zipping import Deflated
from promptseg.geometry import Axis, Geometry
from promptseg.image import Image, Segment
from promptseg.inference.embedded import EmbeddedImage
from promptseg.parsing import name_fault
from promptseg.prompts import Mask, PlacedPrompt, Prompt, Text, place
from promptseg.result import Result
from promptseg.segment.multimask import MaskCandidate, multimask_output
from promptseg.segment.opened import require_fit
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session_answer import answer, notes_on, prompted_at, stays
from promptseg.segment.session_objects import renamed, with_mask
from promptseg.segment.session_prompts import kind_of
from promptseg.segment.session_verbs import PromptVerbs
from promptseg.segment.step import Step, put_in

__all__ = ["Session", "Step"]


class Session(PromptVerbs):
    """One image, its objects, and every step back and forth.

    The first prompt on an object segments it; every further one corrects it (see `Segmenter.correct`).
    Marker lines are gathered: the object is segmented when two slices have them, and anew with every
    further line. Prompts may lie on slices along any axis. The session opens its image once and keeps
    the embeddings, so that nothing is encoded twice; undo and redo compute nothing. A step that fails
    leaves the session as it was. Any number of sessions may use one model, each from a thread of its
    own.

    Args:
        segmenter: the model.
        image: the image, or one that `Segmenter.open` gave, which sessions may share; `set_image`
            starts on another one.
        options: how prompts spread; see `SegmentOptions`.
        progress: called with slices encoded and the object at work.
        timed: makes what surrounds the model's work on every prompt, such as
            `lambda: study_log.inference(case, expert)` of `promptseg.timing`.

    Raises:
        InputError: a segmenter of two models, one of which starts what the other propagates.

    Examples:
        >>> import numpy as np
        >>> import promptseg
        >>> values = np.zeros((10, 64, 64), np.int16)
        >>> values[3:7, 20:40, 16:30] = 200
        >>> image = promptseg.Image.from_array(values, "CT", spacing=(1, 1, 5))
        >>> session = promptseg.Session(promptseg.load("lite-medsam"), image)
        >>> segment = session.add(promptseg.Box((14, 18, 32, 42), slice=5, name="bright"))
        >>> (session.objects, session.undo(), session.objects)
        (['bright'], True, [])
    """

    def __init__(
        self,
        segmenter: Segmenter,
        image: Image | EmbeddedImage,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
        timed: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        if (starter := segmenter.starter) is not None:
            raise InputError(
                "a segmenter of one model, which answers and corrects, for a session",
                f"{starter.card.name} to start what {segmenter.predictor.card.name} propagates",
                "load it without start_model, and put what Segmenter.segment finds with both into the "
                "session (Session.put)",
            )
        self.segmenter = segmenter
        options = options or SegmentOptions()
        known = image.axis if isinstance(image, EmbeddedImage) else "z"
        self.options = replace(options, axis=options.axis or known)
        self.progress = progress
        self.timed = timed
        self.deflated: dict[int, tuple[Segment, Deflated]] = {}  # by identity, as saved last
        self.set_image(image)

    def set_image(self, image: Image | EmbeddedImage) -> None:
        """Start afresh on an image; objects and history are gone.

        Raises:
            InputError, PromptError: an opened image that does not fit the session's options.
        """
        opened = image if isinstance(image, EmbeddedImage) else None
        if opened is not None:
            require_fit(opened, self.segmenter.predictor, self.options)
        self._opened: dict[Axis, EmbeddedImage] = {} if opened is None else {self.axis: opened}
        self.image: Image = opened.image if opened else image  # type: ignore[assignment]
        self.history = [Step("start", {}, {}, None)]
        self.position = 0

    @property
    def axis(self) -> Axis:
        """Return the axis of the slices of prompts that name no other axis."""
        return self.options.axis or "z"

    @property
    def embedded(self) -> EmbeddedImage:
        """Return the image as the model sees it, opened when it is first needed."""
        return self.embedded_along(self.axis)

    @property
    def opened(self) -> dict[Axis, EmbeddedImage]:
        """Return the image as it has been opened so far, by axis."""
        return dict(self._opened)

    def embedded_along(self, axis: Axis) -> EmbeddedImage:
        """Return the image as the model sees it in slices along any axis; all are shown in the same
        way.
        """
        if self.axis not in self._opened:
            self._opened[self.axis] = self.segmenter.open(self.image, self.options)
        if axis not in self._opened:
            self._opened[axis] = self._opened[self.axis].along(axis)
        return self._opened[axis]

    @property
    def step(self) -> Step:
        """Return the step at which the session stands."""
        return self.history[self.position]

    @property
    def objects(self) -> list[str]:
        """Return the names of the objects, in order."""
        return list(self.step.objects)

    @property
    def waiting(self) -> list[str]:
        """Return the names of the objects with marker lines on one slice alone, which have no mask
        until there are more.
        """
        step = self.step
        return [name for name, s in step.objects.items() if s is None and step.prompts[name]]

    @property
    def unspread(self) -> list[str]:
        """Return the names of the objects with prompts that have not reached the other slices; see
        `spread`.
        """
        steps = self.history[1 : self.position + 1]
        prompted = (prompted_at(self.history, k)[0] for k, s in enumerate(steps, 1) if not s.spread)
        return list(dict.fromkeys(prompted))

    @property
    def geometry(self) -> Geometry:
        """Return the grid of the image."""
        return self.image.geometry

    def new_object(self, name: str | None = None) -> str:
        """Add an object and make it the current one; returns its name.

        Raises:
            PromptError: another object has that name, or no file could hold it.
        """
        taken = self.step.objects
        if name is None:
            name = next(n for k in range(1, len(taken) + 2) if (n := f"object {k}") not in taken)
        if not name or name in taken:
            raise PromptError("a name no object has yet", repr(name), "choose another name")
        if fault := name_fault(name):
            raise PromptError("a name that a file can hold", fault, "choose another name")
        self._do(f"new {name}", {**taken, name: None}, {**self.step.prompts, name: ()}, name)
        return name

    def select(self, name: str) -> None:
        """Make an object the current one: no step of its own, so that `redo` stays possible.

        Raises:
            PromptError: no such object.
        """
        self.history[self.position] = replace(self.step, current=self._known(name))

    def remove_object(self, name: str | None = None) -> None:
        """Take an object out; `undo` brings it back. After the current one the last is current.

        Raises:
            PromptError: no such object.
        """
        name = self._known(name)
        objects = {k: v for k, v in self.step.objects.items() if k != name}
        prompts = {k: v for k, v in self.step.prompts.items() if k != name}
        current = self.step.current if name != self.step.current else next(reversed(objects), None)
        self._do(f"remove {name}", objects, prompts, current)

    def put(self, mask: ArrayLike, name: str | None = None) -> str:
        """Begin or replace an object (the current one) with a mask that is there, for correction.

        Args:
            mask: what it is, on the image's grid; an empty one clears it.
            name: of the object.

        Returns:
            Its name.

        Raises:
            PromptError: a mask on another grid.
        """
        step = with_mask(self, np.asarray(mask) != 0, name or self.step.current or "object 1")
        self._do(step.action, step.objects, step.prompts, step.current)
        return str(step.current)

    def add(
        self,
        prompt: Prompt,
        object: str | None = None,
        *,
        spread: bool = True,
        at: int | None = None,
    ) -> Segment | None:
        """Add any prompt, for the object it names, `object`, the current one, or a first new one.

        Words are for a new object, named after them where no name is given.

        Args:
            prompt: on a slice along any axis, or in space, or words.
            object: name of the object.
            spread: whether its answer reaches the other slices now, or with `spread` later. What has
                not been spread before comes first.
            at: of words that do not spread now: the slice that is looked at; the middle one if None.

        Returns:
            The object's new masks; None for marker lines on a first slice.

        Raises:
            PromptError: outside the image, of a kind the model was not trained for, for an object
                other than the one it names, or words for what is there already.
        """
        if prompt.name is not None and object is not None and prompt.name != object:
            raise PromptError(f"a prompt for {object!r}", f"one for {prompt.name!r}")
        name = self._object_of(prompt, object)
        placed = self._placed(prompt, name)
        with self.timed():
            if spread:
                self.spread()
            segment = answer(self, name, placed, self.step, spread, at)
        step = self.step
        self._do(
            f"{kind_of(placed[0])} on {name}",
            {**step.objects, name: segment},
            {**step.prompts, name: (*step.prompts.get(name, ()), *placed)},
            name,
            spread or segment is None or stays(self, placed),
        )
        return segment

    def multimask_output(self, object: str | None = None) -> list[MaskCandidate]:
        """Give the masks that the one click on an object may mean; the one that is shown comes first.

        Raises:
            PromptError: an object with other prompts than one click inside it.
        """
        name = self._known(object)
        prompts = self.step.prompts[name]
        if len(prompts) != 1:
            raise PromptError("an object with one click", f"{name!r} with {len(prompts)} prompts")
        along = self.embedded_along(prompts[0].axis or self.axis)
        return multimask_output(along, prompts[0])

    readings = old_method("readings", "multimask_output")

    def choose(self, candidate: MaskCandidate, object: str | None = None) -> Segment:
        """Take one of `multimask_output` for an object; in a volume it spreads anew from there.

        Raises:
            PromptError: as of `add_mask`.
        """
        drawn = Mask(candidate.mask, candidate.slice, axis=candidate.axis, as_drawn=True)
        return self._answered(drawn, object)

    def preview(
        self, prompt: Prompt, object: str | None = None, at: int | None = None
    ) -> Segment | None:
        """Answer a prompt as `add` with `spread=False` would, but make no step of it."""
        name = self._object_of(prompt, object)
        return answer(self, name, self._placed(prompt, name), self.step, False, at)

    def notes_on(self, object: str) -> list[str]:
        """Return what a person should know of words that were given for an object: that the model knows
        them from other images, or that nothing was found. `add` logs the same.
        """
        return notes_on(self, object)

    def spread(self) -> list[str]:
        """Let answers that were given on the prompted slices alone reach the other slices, in order.

        Objects are then what they would be had every prompt been added with `spread=True`; the number
        of steps stays. What was done before an interruption is kept.

        Returns:
            Names of the objects that were propagated.
        """
        names = self.unspread
        for number in range(1, self.position + 1):
            if not self.history[number].spread:
                name, new = prompted_at(self.history, number)
                segment = answer(self, name, new, self.history[number - 1], True)
                put_in(self.history, number, name, segment)
        return names

    def leave_as_is(self) -> None:
        """Keep answers that were given on the prompted slices alone: `spread` has nothing to do."""
        for number, step in enumerate(self.history[: self.position + 1]):
            if not step.spread:
                self.history[number] = replace(step, spread=True)

    def rename_object(self, name: str, new: str) -> None:
        """Give an object another name; a step like any other.

        Raises:
            PromptError: no such object, a name that is taken, or prompts that are not spread yet.
        """
        step = renamed(self, self._known(name), new)
        self._do(step.action, step.objects, step.prompts, step.current)

    def undo(self) -> bool:
        """Go one step back; False at the start."""
        self.position = max(0, (before := self.position) - 1)
        return self.position != before

    def redo(self) -> bool:
        """Go one step forth again; False where there is none."""
        self.position = min(len(self.history) - 1, (before := self.position) + 1)
        return self.position != before

    def result(self) -> Result:
        """Return the objects that have a mask, with what made them.

        Raises:
            PromptError: none has.
        """
        from promptseg.segment.session_file import provenance_of

        segments = [s for s in self.step.objects.values() if s is not None]
        if not segments:
            waiting = f"mark a second slice of {self.waiting[0]!r}" if self.waiting else ""
            raise PromptError(
                "at least one prompted object", "none", waiting or "add a prompt first"
            )
        found = Result(segments, self.geometry, self.image.source, image=self.image)
        found.provenance = provenance_of(self, found)
        return found

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the session, with its whole history, to a file (`.npz`).

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        from promptseg.segment.session_file import save

        return save(self, Path(path), overwrite)

    @classmethod
    def resume(
        cls, path: str | Path, segmenter: Segmenter, image: Image | EmbeddedImage, **how: Any
    ) -> Session:
        """Go on where a saved session stood; nothing is computed.

        Args:
            path: what `save` wrote.
            segmenter: the model for further prompts.
            image: the same image.
            how: `progress` and `timed`; the options are those of the file.

        Raises:
            InputError: not a session, or one of another image.
        """
        from promptseg.segment.session_file import load_into

        session = cls(segmenter, image, **how)
        load_into(session, Path(path))
        if isinstance(image, EmbeddedImage):
            require_fit(image, segmenter.predictor, session.options)
        return session

    def _placed(self, prompt: Prompt, name: str) -> list[PlacedPrompt]:
        """The prompt on the grid, under the name of its object."""
        if isinstance(prompt, Text):
            prompt = replace(prompt, name=name)  # one that no file could hold is refused
        return [replace(p, name=name) for p in place([prompt], self.geometry, self.axis)]

    def _object_of(self, prompt: Prompt, object: str | None) -> str:
        """The name of the object that a prompt is for."""
        if isinstance(prompt, Text):
            return prompt.name or object or prompt.title
        return prompt.name or object or self.step.current or "object 1"

    def _known(self, name: str | None) -> str:
        name = name or self.step.current
        if name not in self.step.objects:
            known = ", ".join(self.step.objects) or "none yet"
            raise PromptError(f"an object out of {known}", repr(name))
        return str(name)

    def _do(
        self,
        action: str,
        objects: dict[str, Segment | None],
        prompts: dict[str, tuple[PlacedPrompt, ...]],
        current: str | None,
        spread: bool = True,
    ) -> None:
        """Add a step; what had been undone is gone."""
        del self.history[self.position + 1 :]
        self.history.append(Step(action, objects, prompts, current, spread))
        self.position += 1
