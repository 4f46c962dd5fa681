"""One slide that somebody works on: steps one at a time, safe on disk, with its lease."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock, RLock
from typing import Any, TypeVar

from promptseg.errors import PromptsegError
from promptseg.formats.colours import COLOURS
from promptseg.formats.exclusive import Exclusive
from promptseg.serve.lease import Lease
from promptseg.serve.refusals import (
    AbsentError,
    EndedError,
    changed_by_others,
    require_right,
)
from promptseg.serve.slide_tiles import TILE, Tiles
from promptseg.serve.turns import Job, Turns, Urgency
from promptseg.serve.users import caller, require_own
from promptseg.slides.journal import SlideJournal
from promptseg.slides.layer import Layer
from promptseg.slides.outlines import Polygon, outlines
from promptseg.slides.session import SlideSession

__all__ = ["SlideWork"]

T = TypeVar("T")

log = logging.getLogger("promptseg.serve")

_KEPT_OUTLINES = 64
_MM2 = 1e-6  # of a square micrometre


class SlideWork:
    """A session on a slide with its lease and its file; for any threads.

    Args:
        session: the slide, its objects and steps.
        lease: how long it lasts.
        turns: of the model's device.
        journal: where every step is kept.
        path: of the slide below the root.
        reading: held while the slide is read.

    Attributes:
        owner: who opened it; empty where users have no names.
        read_only: whether it is the work of somebody else, which is looked at.
        colours: (red, green, blue) of objects by name, where the user chose one.
        warning: what is wrong, such as a step that could not be saved.
        on_change: called after every change.
        right: to go on with its file; None where it is looked at.
    """

    def __init__(
        self,
        session: SlideSession,
        lease: Lease,
        turns: Turns,
        journal: SlideJournal,
        path: str,
        reading: Lock,
    ) -> None:
        self.session, self.lease, self.turns = session, lease, turns
        self.journal, self.path = journal, path
        self.tiles = Tiles(session.slide, reading)
        self.owner, self.read_only = caller().name, False
        self.colours: dict[str, tuple[int, int, int]] = {}
        self.warning = ""
        self.on_change: Callable[[], None] = lambda: None
        self.right: Exclusive | None = None
        self._reading, self._lock = reading, RLock()
        self._versions: dict[tuple[int, ...], tuple[tuple[Layer, ...], int]] = {}
        self._outlines: OrderedDict[int, list[Polygon]] = OrderedDict()
        self._closed = False
        session.lock = reading
        session.turn = lambda: turns.take(Job(self.id, Urgency.CLICK))

    @property
    def id(self) -> str:
        """Return the name that clients use for it; nobody can guess it."""
        return self.lease.token

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds: tiles, regions as the model sees them, masks."""
        return self.tiles.nbytes + self.session.nbytes

    @property
    def file(self) -> Path:
        """Return the file that keeps it."""
        return self.journal.path

    def change(self, do: Callable[[], object]) -> None:
        """Do something to the session and save it.

        Raises:
            EndedError: it is over.
        """
        with self.lease.held(), self._lock:
            if self._closed:
                raise EndedError("a session that is open", "one that has ended", "open it again")
            require_own(self.read_only)
            require_right(self.right)
            do()
            self.warning = ""
            try:
                self.warning = changed_by_others(self.journal.write(self.session))
            except PromptsegError as error:  # the step is there, and is tried again with the next
                self.warning = f"this step is not on disk: {error}"
            self.on_change()

    def alone(self, do: Callable[[], T]) -> T:
        """Do something while nobody changes the session."""
        with self.lease.held(), self._lock:
            return do()

    def close(self, why: str = "", *, abandoned: bool = False) -> None:
        """End it; what was done is on disk."""
        self._closed = True
        self.turns.forget(self.id)
        with self._lock, self._reading:
            self.session.slide.close()
            if self.right is not None:
                self.right.release()

    def outline(self, version: int) -> list[Polygon]:
        """Return the polygons of an object in one of its versions, which `facts` numbers.

        Raises:
            AbsentError: that is no version of an object that is there.
        """
        with self._lock:
            if version not in self._outlines:
                name = next(
                    (n for n in self.session.step.objects if self._version(n) == version), None
                )
                if name is None:
                    raise AbsentError("the outline of an object that is there", f"number {version}")
                grid = self.session.grid(name)
                self._outlines[version] = outlines(grid.mask, grid.xs.tolist(), grid.ys.tolist())
                while len(self._outlines) > _KEPT_OUTLINES:
                    self._outlines.popitem(last=False)
            self._outlines.move_to_end(version)
            return self._outlines[version]

    def facts(self) -> dict[str, Any]:
        """Return the facts on the session: everything but tiles and outlines."""
        with self._lock:
            session, slide = self.session, self.session.slide
            card = session.segmenter.predictor.card
            return {
                "session": self.id,
                "path": self.path,
                "model": {"name": card.name, "prompts": sorted(card.prompts)},
                "slide": {
                    "width": slide.size[0],
                    "height": slide.size[1],
                    "microns": None if slide.microns is None else list(slide.microns),
                    "zooms": self.tiles.zooms,
                    "tile": TILE,
                },
                "objects": [self._object(name) for name in session.step.objects],
                "current": session.step.current,
                "steps": [step.action for step in session.history],
                "position": session.position,
                "warning": self.warning,
            }

    def colour(self, name: str) -> tuple[int, int, int]:
        """Return the colour of an object."""
        label = self.session.step.objects[name].label
        return self.colours.get(name) or COLOURS[(label - 1) % len(COLOURS)]

    def _object(self, name: str) -> dict[str, Any]:
        known, slide = self.session.step.objects[name], self.session.slide
        area = self.session.grid(name).area
        square = None
        if slide.microns is not None:
            square = area * slide.microns[0] * slide.microns[1] * _MM2
        last = known.layers[-1] if known.layers else None
        return {
            "name": name,
            "label": known.label,
            "colour": list(self.colour(name)),
            "outline": self._version(name),
            "empty": area == 0,
            "prompted": last is not None,
            "regions": len(known.layers),
            "area_px": area,
            "area_mm2": square,
            "predicted_iou": None if last is None else last.predicted_iou,
            "prompts": [shown for layer in known.layers for shown in _shown(layer)],
        }

    def _version(self, name: str) -> int:
        """A number for what an object is: the same after undo and redo."""
        layers = self.session.step.objects[name].layers
        key = tuple(map(id, layers))
        if key not in self._versions:
            self._versions[key] = (layers, len(self._versions) + 1)  # which keeps the ids
        return self._versions[key][1]


def _shown(layer: Layer) -> list[dict[str, Any]]:
    """The prompts of a layer, in pixels of the slide."""
    x, y, step = layer.patch.region.x, layer.patch.region.y, layer.patch.step

    def placed(across: float, down: float) -> list[float]:
        return [x + (across + 0.5) * step - 0.5, y + (down + 0.5) * step - 0.5]

    found: list[dict[str, Any]] = []
    for prompt in layer.prompts:
        if hasattr(prompt, "xyxy"):
            x0, y0, x1, y1 = prompt.xyxy
            found.append({"box": [*placed(x0, y0), *placed(x1, y1)]})
        else:
            points = zip(prompt.xy, prompt.labels, strict=True)
            found.append({"points": [[*placed(*xy), label] for xy, label in points]})
    return found
