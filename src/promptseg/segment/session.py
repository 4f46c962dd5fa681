"""Interactive work on one image: what annotators' tools drive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from promptseg.errors import PromptError
from promptseg.geometry import Geometry
from promptseg.image import Image, Segment, Segmentation
from promptseg.prompts import Box, Box3D, Mask, Points, Prompt, place
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter

__all__ = ["Session", "Step"]


@dataclass(frozen=True)
class Step:
    """What one action left.

    Attributes:
        action: what was done, in words.
        objects: every object by name, in order; None where nothing has been prompted yet.
        prompts: every object's prompts by name, in the order they were given.
        current: the object that prompts without a name go to.
    """

    action: str
    objects: dict[str, Segment | None]
    prompts: dict[str, tuple[Prompt, ...]]
    current: str | None


class Session:
    """One image, its objects, and every step back and forth.

    The first prompt on an object segments it; every further one corrects it (see `Segmenter.correct`).
    Embeddings are kept by the segmenter, so that nothing is encoded twice; undo and redo compute
    nothing. A step that fails leaves the session as it was.

    Args:
        segmenter: the model.
        image: the image; `set_image` starts on another one.
        options: how prompts spread; see `SegmentOptions`.
        progress: called with slices encoded and the object at work.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        image: Image,
        options: SegmentOptions | None = None,
        progress: Callable[[int, str], None] | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.options = options or SegmentOptions()
        self.progress = progress
        self.set_image(image)

    def set_image(self, image: Image) -> None:
        """Start afresh on an image; objects and history are gone."""
        self.image = image
        self.history = [Step("start", {}, {}, None)]
        self.position = 0

    @property
    def step(self) -> Step:
        """Where the session is."""
        return self.history[self.position]

    @property
    def objects(self) -> list[str]:
        """Names of the objects, in order."""
        return list(self.step.objects)

    @property
    def geometry(self) -> Geometry:
        """The grid of the image."""
        return self.image.geometry

    def new_object(self, name: str | None = None) -> str:
        """Add an object and make it the current one; returns its name.

        Raises:
            PromptError: another object has that name.
        """
        taken = self.step.objects
        if name is None:
            name = next(n for k in range(1, len(taken) + 2) if (n := f"object {k}") not in taken)
        if not name or name in taken:
            raise PromptError("a name no object has yet", repr(name), "choose another name")
        self._do(f"new {name}", {**taken, name: None}, {**self.step.prompts, name: ()}, name)
        return name

    def select(self, name: str) -> None:
        """Make an object the current one.

        Raises:
            PromptError: no such object.
        """
        name = self._known(name)
        self._do(f"select {name}", self.step.objects, self.step.prompts, name)

    def remove_object(self, name: str | None = None) -> None:
        """Take an object out; `undo` brings it back.

        Raises:
            PromptError: no such object.
        """
        name = self._known(name)
        objects = {k: v for k, v in self.step.objects.items() if k != name}
        prompts = {k: v for k, v in self.step.prompts.items() if k != name}
        self._do(f"remove {name}", objects, prompts, next(reversed(objects), None))

    def add_box(
        self, xyxy: Sequence[float], slice: int | None = None, object: str | None = None
    ) -> Segment:
        """A box on a slice for an object (the current one); returns the object's new masks.

        Raises:
            PromptError: outside the image, or of a kind the model was not trained for.
        """
        return self.add(Box(tuple(xyxy), slice), object)  # type: ignore[arg-type]

    def add_box3d(self, bounds: Sequence[float], object: str | None = None) -> Segment:
        """A 3D box for an object without any mask yet; as `add_box`."""
        return self.add(Box3D(tuple(bounds)), object)  # type: ignore[arg-type]

    def add_point(
        self,
        xy: Sequence[float],
        positive: bool = True,
        slice: int | None = None,
        object: str | None = None,
    ) -> Segment:
        """A click inside (or, not `positive`, outside) an object; as `add_box`."""
        return self.add(Points((tuple(xy),), (int(positive),), slice), object)  # type: ignore[arg-type]

    def add_mask(
        self,
        mask: ArrayLike,
        slice: int | None = None,
        object: str | None = None,
        as_drawn: bool = True,
    ) -> Segment:
        """A mask on a slice: the answer there (brushed by hand), or a hint for the model."""
        pixels = np.asarray(mask)
        return self.add(Mask(pixels, slice, as_drawn=as_drawn), object)

    def add(self, prompt: Prompt, object: str | None = None) -> Segment:
        """Any prompt, for the object it names, `object`, the current one, or a first new one.

        Raises:
            PromptError: outside the image, of a kind the model was not trained for, or for an object
                other than the one it names.
        """
        if prompt.name is not None and object is not None and prompt.name != object:
            raise PromptError(f"a prompt for {object!r}", f"one for {prompt.name!r}")
        name = prompt.name or object or self.step.current or "object 1"
        old = self.step.objects.get(name)
        earlier = self.step.prompts.get(name, ())
        placed = [replace(p, name=name) for p in place([prompt], self.geometry, self.options.axis)]
        how: dict[str, Any] = {"options": self.options, "progress": self.progress}
        if old is None:
            result = self.segmenter.segment(self.image, *placed, **how)
            segment = replace(result.segments[0], label=self._label(name))
        else:
            before = Segmentation([old], self.geometry, self.image.source, image=self.image)
            clicks = self._clicks_again(earlier, placed)
            result = self.segmenter.correct(self.image, before, *clicks, *placed, **how)
            segment = result.segments[0]
        self._do(
            f"{placed[0].kind} on {name}",
            {**self.step.objects, name: segment},
            {**self.step.prompts, name: (*earlier, *placed)},
            name,
        )
        return segment

    def undo(self) -> bool:
        """One step back; False at the start."""
        self.position = max(0, (before := self.position) - 1)
        return self.position != before

    def redo(self) -> bool:
        """One step forth again; False where there is none."""
        self.position = min(len(self.history) - 1, (before := self.position) + 1)
        return self.position != before

    def result(self) -> Segmentation:
        """The objects that have a mask, with what made them.

        Raises:
            PromptError: none has.
        """
        from promptseg.segment.session_file import provenance_of

        segments = [s for s in self.step.objects.values() if s is not None]
        if not segments:
            raise PromptError("at least one prompted object", "none", "add a prompt first")
        found = Segmentation(segments, self.geometry, self.image.source, image=self.image)
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
    def resume(cls, path: str | Path, segmenter: Segmenter, image: Image, **how: Any) -> Session:
        """Go on where a saved session stood; nothing is computed.

        Args:
            path: what `save` wrote.
            segmenter: the model for further prompts.
            image: the same image.
            how: `progress`; the options are those of the file.

        Raises:
            InputError: not a session, or one of another image.
        """
        from promptseg.segment.session_file import load_into

        session = cls(segmenter, image, **how)
        load_into(session, Path(path))
        return session

    def _clicks_again(self, earlier: Sequence[Prompt], new: Sequence[Prompt]) -> list[Prompt]:
        """The clicks given before on the slices that are clicked now: the model sees all of them."""
        clicked = {p.slice for p in new if isinstance(p, Points)}
        return [p for p in earlier if isinstance(p, Points) and p.slice in clicked]

    def _known(self, name: str | None) -> str:
        name = name or self.step.current
        if name not in self.step.objects:
            known = ", ".join(self.step.objects) or "none yet"
            raise PromptError(f"an object out of {known}", repr(name))
        return str(name)

    def _label(self, name: str) -> int:
        """The label an object keeps: its own if it has one, else the lowest free one."""
        others = {s.label for n, s in self.step.objects.items() if s is not None and n != name}
        return next(k for k in range(1, len(others) + 2) if k not in others)

    def _do(
        self,
        action: str,
        objects: dict[str, Segment | None],
        prompts: dict[str, tuple[Prompt, ...]],
        current: str | None,
    ) -> None:
        """Add a step; what had been undone is gone."""
        del self.history[self.position + 1 :]
        self.history.append(Step(action, objects, prompts, current))
        self.position += 1
