"""Interactive work on one slide: prompts answered on regions, objects in the slide's coordinates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import PromptError
from promptseg.formats.slide import Slide
from promptseg.inference.embedded import EmbeddedImage
from promptseg.parsing import LONGEST_NAME, name_fault
from promptseg.prompts import Box, Points
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session, Step
from promptseg.slides.joined import Grid, joined, within
from promptseg.slides.layer import Bits, Layer, Patch, RegionPrompt
from promptseg.slides.regions import View, patch_for

__all__ = ["SlideObject", "SlideSession", "SlideStep"]

_KEPT_OPEN = 4  # regions whose embeddings are kept
_KEPT_STATES = 16  # layers whose region can be gone on with at once; others are made anew
_GRIDS_BYTES = 128 << 20
_NAME = "object"  # of the one object of a region's own session
_MARGIN = (
    0.05  # of a region: nearer to its edge than this share, a prompt is answered on another one
)
_COARSER = 1  # zooms by which a region may differ from the view and still go on

Clicks = Sequence[tuple[float, float, int]]


@dataclass(frozen=True, eq=False)
class SlideObject:
    """One object at a step.

    Attributes:
        label: its number, from 1.
        layers: what the regions' answers made of it, in order.
    """

    label: int
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, eq=False)
class SlideStep:
    """The objects after a step.

    Attributes:
        action: what was done, for people.
        objects: by name, in order.
        current: the object that prompts go to; None where there is none.
    """

    action: str
    objects: dict[str, SlideObject] = field(default_factory=dict)
    current: str | None = None


class SlideSession:
    """A slide, its objects, and every step back and forth.

    A prompt is answered on the region in view at its zoom, or on one around the prompt
    (`promptseg.slides.regions`). Further prompts within the region correct its answer; those elsewhere
    open another one, on which the object goes on: a box adds what it finds, clicks correct what is
    there. Masks of regions are joined where they lie on the slide; nothing is held at full size.

    Args:
        segmenter: the model.
        slide: the slide.
        options: modality and what else the model's answers depend on.
        turn: surrounds the model's work.
        lock: surrounds reading of the slide, which is for one thread at a time.

    Attributes:
        history: all steps, of which `position` is the current one.

    Example:
        session = SlideSession(promptseg.load("promptseg-lite"), open_slide(Path("a.svs")))
        session.add_box((20_000, 31_000, 20_400, 31_300), View(19_800, 30_800, 1024, 768, 0))
        session.add_clicks([(20_450, 31_100, 1)], View(19_800, 30_800, 1024, 768, 0))
        write_geojson(session, Path("a.geojson"))
    """

    def __init__(
        self,
        segmenter: Segmenter,
        slide: Slide,
        options: SegmentOptions | None = None,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.segmenter, self.slide = segmenter, slide
        self.options = options or SegmentOptions()
        self.turn, self.lock = turn, lock or nullcontext()
        self.history = [SlideStep("start")]
        self.position = 0
        self._opened: OrderedDict[Patch, EmbeddedImage] = OrderedDict()
        self._sessions: OrderedDict[int, tuple[Layer, Session, Step]] = OrderedDict()
        self._grids: OrderedDict[tuple[int, ...], tuple[tuple[Layer, ...], Grid]] = OrderedDict()

    @property
    def step(self) -> SlideStep:
        """Return the step at which the session stands."""
        return self.history[self.position]

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return self.segmenter.predictor.card.name

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds: regions, their embeddings, and joined masks."""
        opened = list(self._opened.values())
        return self._grid_bytes() + sum(e.nbytes + e.image.voxels.nbytes for e in opened)

    def grid(self, name: str) -> Grid:
        """Return the mask of an object, joined over its regions.

        Raises:
            PromptError: no such object.
        """
        return self._grid(self.step.objects[self._known(name)].layers)

    def add_box(
        self, box: tuple[float, float, float, float], view: View, object: str | None = None
    ) -> str:
        """Add a box (x0, y0, x1, y1) in pixels of the slide, ends included; return the object's name.

        Raises:
            PromptError: beside the slide, or for a model that takes no boxes.
        """
        x0, x1 = sorted((box[0], box[2]))
        y0, y1 = sorted((box[1], box[3]))
        return self._add((x0, y0, x1, y1), None, view, object)

    def add_clicks(self, clicks: Clicks, view: View, object: str | None = None) -> str:
        """Add clicks (x, y, 1 inside or 0 outside) in pixels of the slide; return the object's name.

        Raises:
            PromptError: as `add_box`.
        """
        if not clicks:
            raise PromptError("at least one click", "none")
        xs, ys = [c[0] for c in clicks], [c[1] for c in clicks]
        return self._add((min(xs), min(ys), max(xs), max(ys)), clicks, view, object)

    def new_object(self, name: str | None = None) -> str:
        """Add an object and make it the current one; returns its name.

        Raises:
            PromptError: another object has that name, or no file could hold it.
        """
        name = self._new_name(name)
        self._do(f"new {name}", {**self.step.objects, name: SlideObject(self._label())}, name)
        return name

    def select(self, name: str) -> None:
        """Make an object the current one; no step of its own.

        Raises:
            PromptError: no such object.
        """
        self.history[self.position] = replace(self.step, current=self._known(name))

    def remove_object(self, name: str) -> None:
        """Take an object out; `undo` brings it back.

        Raises:
            PromptError: no such object.
        """
        name = self._known(name)
        objects = {k: v for k, v in self.step.objects.items() if k != name}
        current = self.step.current if name != self.step.current else next(reversed(objects), None)
        self._do(f"remove {name}", objects, current)

    def rename_object(self, name: str, new: str) -> None:
        """Give an object another name.

        Raises:
            PromptError: no such object, or a name that is taken or that no file could hold.
        """
        name, new = self._known(name), self._new_name(new)
        objects = {new if key == name else key: v for key, v in self.step.objects.items()}
        current = new if self.step.current == name else self.step.current
        self._do(f"rename {name} to {new}", objects, current)

    def go_to(self, position: int) -> None:
        """Stand at a step by its number, kept between the first and the last."""
        self.position = min(max(position, 0), len(self.history) - 1)

    def _add(
        self,
        around: tuple[float, float, float, float],
        clicks: Clicks | None,
        view: View,
        object: str | None,
    ) -> str:
        name = object or self.step.current or "object 1"
        known = self.step.objects.get(name)
        if known is None:
            self._new_name(name)
            known = SlideObject(self._label())
        side = self.segmenter.predictor.card.preprocessing.size
        patch = patch_for(around, view, self.slide.size, side)
        last = known.layers[-1] if known.layers else None
        if last is not None and self._goes_on(last, patch, around):
            layer = self._answered(last, _on(last.patch, around, clicks))
            layers = (*known.layers[:-1], layer)
        else:
            there = within(self._grid(known.layers), patch) if known.layers else None
            base = Bits.of(there) if there is not None and there.any() else None
            begun = Layer(patch, base, Bits.of(_nothing(patch)), (), self.model)
            layers = (*known.layers, self._answered(begun, _on(patch, around, clicks)))
        kind = "box" if clicks is None else "point"
        self._do(
            f"{kind} on {name}",
            {**self.step.objects, name: SlideObject(known.label, layers)},
            name,
        )
        return name

    def _goes_on(
        self, last: Layer, patch: Patch, around: tuple[float, float, float, float]
    ) -> bool:
        """Whether a prompt corrects the answer of the region before."""
        if last.model != self.model or abs(last.patch.zoom - patch.zoom) > _COARSER:
            return False
        region = last.patch.region
        if last.patch == patch:
            return True
        return last.patch.holds(around, _MARGIN * min(region.width, region.height))

    def _answered(self, before: Layer, prompt: RegionPrompt) -> Layer:
        """The layer after one more prompt."""
        with self.turn():
            session = self._session(before)
            mask, iou = _answer(session, before, prompt)
        prompts = (*before.prompts, prompt)
        layer = Layer(before.patch, before.base, Bits.of(mask), prompts, self.model, iou)
        self._sessions[id(layer)] = (layer, session, session.step)
        while len(self._sessions) > _KEPT_STATES:
            self._sessions.popitem(last=False)
        return layer

    def _session(self, layer: Layer) -> Session:
        """The session of a region where it stood at a layer: the one that is open, or made anew."""
        known = self._sessions.get(id(layer))
        if known is not None:
            _, session, step = known
            for position, there in enumerate(session.history):
                if there is step:
                    session.position = position
                    return session
        session = Session(self.segmenter, self._embedded(layer.patch), self.options)
        for count, prompt in enumerate(layer.prompts):
            _answer(session, replace(layer, prompts=layer.prompts[:count]), prompt)
        return session

    def _embedded(self, patch: Patch) -> EmbeddedImage:
        """A region as the model sees it."""
        if patch not in self._opened:
            rows, columns = patch.shape
            with self.lock:
                image = self.slide.read(patch.region, size=(columns, rows))
            if image.voxels.min() == image.voxels.max():
                raise PromptError(
                    "a region of the slide with something on it",
                    "one of a single value",
                    "prompt another place, or zoom out",
                )
            self._opened[patch] = self.segmenter.open(image, self.options)
            while len(self._opened) > _KEPT_OPEN:
                self._opened.popitem(last=False)
        self._opened.move_to_end(patch)
        return self._opened[patch]

    def _grid(self, layers: tuple[Layer, ...]) -> Grid:
        key = tuple(map(id, layers))
        if key not in self._grids:
            self._grids[key] = (layers, joined(layers))  # the layers keep their ids meanwhile
            while len(self._grids) > 1 and self._grid_bytes() > _GRIDS_BYTES:
                self._grids.popitem(last=False)
        self._grids.move_to_end(key)
        return self._grids[key][1]

    def _grid_bytes(self) -> int:
        return sum(grid.mask.nbytes for _, grid in list(self._grids.values()))

    def _known(self, name: str) -> str:
        if name not in self.step.objects:
            known = ", ".join(self.step.objects) or "none yet"
            raise PromptError(f"an object out of {known}", repr(name)[:100])
        return name

    def _new_name(self, name: str | None) -> str:
        taken = self.step.objects
        if name is None:
            return next(n for k in range(1, len(taken) + 2) if (n := f"object {k}") not in taken)
        if not name or name in taken:
            raise PromptError("a name no object has yet", repr(name)[:100], "choose another name")
        if fault := name_fault(name):
            raise PromptError(f"a name of at most {LONGEST_NAME} characters", fault, "rename it")
        return name

    def _label(self) -> int:
        return max((o.label for o in self.step.objects.values()), default=0) + 1

    def _do(self, action: str, objects: dict[str, SlideObject], current: str | None) -> None:
        """Add a step; what had been undone is gone."""
        del self.history[self.position + 1 :]
        self.history.append(SlideStep(action, objects, current))
        self.position += 1


def _answer(
    session: Session, before: Layer, prompt: RegionPrompt
) -> tuple[NDArray[np.bool_], float | None]:
    """What the model makes of one more prompt on a region, and of what lay there before."""
    first = not before.prompts
    base = before.base.mask if first and before.base is not None else None
    if base is not None and isinstance(prompt, Points):
        session.put(base, _NAME)
    segment = session.add(replace(prompt, name=_NAME))
    mask = _nothing(before.patch) if segment is None else segment.mask(before.patch.shape)
    if base is not None and isinstance(prompt, Box):
        mask |= base
        session.put(mask, _NAME)
    return mask, None if segment is None else segment.predicted_iou


def _on(
    patch: Patch, around: tuple[float, float, float, float], clicks: Clicks | None
) -> RegionPrompt:
    """A prompt in pixels of a patch: centres of pixels are whole numbers there, too."""
    rows, columns = patch.shape

    def moved(x: float, y: float) -> tuple[float, float]:
        along = (x - patch.region.x + 0.5) / patch.step - 0.5
        down = (y - patch.region.y + 0.5) / patch.step - 0.5
        return min(max(along, 0.0), columns - 1.0), min(max(down, 0.0), rows - 1.0)

    if clicks is None:
        return Box((*moved(*around[:2]), *moved(*around[2:])))
    return Points(tuple(moved(x, y) for x, y, _ in clicks), tuple(c[2] for c in clicks))


def _nothing(patch: Patch) -> NDArray[np.bool_]:
    return np.zeros(patch.shape, bool)
