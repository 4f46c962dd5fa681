"""One volume on a server: prompts go there, masks come back as segments, edits by hand follow them.

An object of the server belongs to a segment, which keeps its name as a tag; names and colours are the
viewer's. What a person sees is what counts: segments that were painted, renamed, recoloured or deleted
by hand are told to the server before the next prompt, and a session that ended is begun again with the
segments that are there.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from PromptSegLib.connection import Connected, client
from PromptSegLib.geometry import AXES, Grid
from PromptSegLib.problems import GoneError, Problem
from PromptSegLib.terms import terminology
from PromptSegLib.worker import Task, Worker

__all__ = ["Opening", "Quality", "Workspace"]

OBJECT = "PromptSeg.Object"  # tag of a segment: the object's name on the server
_PAUSE = 0.3  # seconds between two questions whether other slices are there


class Opening(NamedTuple):
    """How a volume is opened; empty texts leave it to the server.

    Attributes:
        model: name of a model that is loaded.
        modality: CT, MR, ...
        window: what the model sees: a name, percentile, minmax, WIDTH/LEVEL.
        axis: along which slices are taken where a prompt does not say.
        propagate: how masks reach other slices; none, memory, box, ...
        path: the same image below the folder that is served, whose session is kept there on disk.
        take_over: end the session of another window on it.
    """

    model: str = ""
    modality: str = ""
    window: str = ""
    axis: str = ""
    propagate: str = ""
    path: str = ""
    take_over: bool = False

    @property
    def given(self) -> Dict[str, str]:
        """What is said, for the server."""
        names = ("model", "modality", "window", "axis", "propagate")
        return {n: getattr(self, n) for n in names if getattr(self, n)}


class Quality(NamedTuple):
    """How sure the model is of a segment.

    Attributes:
        name: of the object.
        predicted_iou: of the whole; None where the model says none, or after edits by hand.
        axis: along which slices are counted.
        doubtful: slices that should be looked at.
    """

    name: str
    predicted_iou: Optional[float]
    axis: str
    doubtful: List[int]


class Workspace:
    """A session on a volume and a segmentation.

    Args:
        connected: the server.
        volume: as `mrml.Volume`.
        segments: as `mrml.Segments`.
        worker: does what has to wait for the server.
        say: shows a line; called with what goes on, and with an empty text when nothing does.

    Attributes:
        session: of promptseg_client; None while none is open.
        moment: gives the time point that is shown, of a sequence.
    """

    def __init__(
        self,
        connected: Connected,
        volume: Any,
        segments: Any,
        worker: Worker,
        say: Callable[[str], None],
    ) -> None:
        self.connected, self.volume, self.segments = connected, volume, segments
        self.worker, self.say = worker, say
        self.session: Any = None
        self.opening = Opening()
        self._grid: Optional[Grid] = None
        self.moment: Callable[[], int] = lambda: 0
        self._opened_at = 0
        self._shown: Dict[str, np.ndarray] = {}  # by object: the mask that is seen, in bits
        self._stop = False

    # What a person does; each is a task for the worker.

    def open(self, opening: Opening) -> Task:
        """Send the volume, or open its file in the server's folder.

        Raises:
            Problem: it cannot be sent, or the file is another image.
        """
        self.opening = opening
        yield from self._open()
        yield from self._pull()
        self.say("")

    def prompt(
        self, bodies: List[Dict[str, Any]], segment: Optional[str] = None, give_way: bool = True
    ) -> Task:
        """Prompts for a segment, or for a new one; other slices follow.

        Args:
            bodies: as docs/server.md has them, without `object`.
            segment: None makes a new one.
            give_way: whether the next task need not wait until the other slices are there.
        """
        if segment is not None and segment not in self.segments.ids:
            raise Problem("the segment was deleted; choose another one")
        self.say("answering")
        yield from self._push()
        if segment is None:
            numbers = range(1, len(self.session.objects) + 2)
            name = next(n for k in numbers if (n := f"object {k}") not in self.session.objects)
        else:
            known = self._object_of(segment)
            name = known or self._named(segment)
            if known is None:
                yield from self._brush(segment, name)  # what is there already is corrected
        for body in bodies:
            yield from self._ask(lambda b=body: self._prompted(b, name))
        if segment is not None:
            self._tie(segment, name)
        yield from self._pull()
        yield from self._follow(give_way)

    def find(self, phrase: str, axis: str, index: Optional[int] = None) -> Task:
        """Words, for a new segment under their name; other slices follow.

        Args:
            phrase: what to look for.
            axis: along which slices are looked at.
            index: of the slice that is answered first; the middle one if None.
        """
        self.say("looking for it")
        yield from self._push()
        yield from self._ask(lambda: self.session.text(phrase, index, axis=axis))
        yield from self._pull()
        yield from self._follow()

    def undo(self) -> Task:
        """One step back on the server."""
        yield from self._push()
        yield from self._ask(lambda: self.session.undo())
        yield from self._pull()
        yield from self._follow()

    def redo(self) -> Task:
        """One step forth on the server."""
        yield from self._push()
        yield from self._ask(lambda: self.session.redo())
        yield from self._pull()
        yield from self._follow()

    def send_edits(self) -> Task:
        """Tell the server what was painted, renamed and deleted by hand."""
        yield from self._push()
        yield from self._pull()
        yield from self._follow()

    def heartbeat(self) -> Task:
        """A sign of life; brings what another client on the session has done."""
        if self.session is not None:
            yield from self._ask(lambda: self.session.refresh())
            yield from self._pull()
            yield from self._follow()

    def finish(self) -> Task:
        """Wait until answers have reached all slices, whatever waits."""
        yield from self._follow(give_way=False)

    def stop_following(self) -> None:
        """Leave the answers on their slices; what follows ends with its next look."""
        self._stop = True

    def close(self) -> Task:
        """End the session; what was done on a file of the folder is kept there."""
        session, self.session = self.session, None
        self._shown.clear()
        if session is not None:
            yield session.close

    # What a person is shown.

    @property
    def quality(self) -> List[Quality]:
        """The objects, as sure as the model is of them."""
        entries = [] if self.session is None else self.session.state["objects"]
        return [
            Quality(
                entry["name"],
                entry.get("predicted_iou"),
                entry["axis"],
                sorted(entry.get("doubtful_slices", ())),
            )
            for entry in entries
            if entry["label"] is not None
        ]

    def place_of(self, name: str, index: int) -> np.ndarray:
        """(3,) RAS of the middle of an object's mask on a slice, to look there."""
        axis = next(q.axis for q in self.quality if q.name == name)
        k = AXES.index(axis)
        found = np.argwhere(np.take(self.session.masks[name], index, 2 - k))
        ijk = np.zeros(3)
        ijk[k] = index
        rest = [n for n in (2, 1, 0) if n != k]  # axes of what `take` left, as IJK positions
        if len(found):
            ijk[rest] = found.mean(axis=0)
        return self.volume.grid.ras([ijk])[0]

    def segment_of(self, name: str) -> Optional[str]:
        """The segment of an object."""
        tagged = (s for s in self.segments.ids if self.segments.tag(s, OBJECT) == name)
        return next(tagged, None)

    # How it is done.

    def _open(self) -> Task:
        grid, voxels = self.volume.grid, self.volume.voxels
        if voxels.ndim == 3 and voxels.shape[-1] == 3:
            raise Problem("expected a volume of more than three columns, got three; crop it less")
        opening, server = self.opening, self.connected.server
        if opening.path:
            self.say(f"opening {opening.path}")
            session = yield lambda: server.open(
                opening.path, take_over=opening.take_over, **opening.given
            )
            middle = grid.shape[0] // 2
            there = yield lambda: session.slices(middle, 1, "z")
            if problem := _difference(session, grid, voxels, there[0], middle):
                yield session.close
                raise Problem(problem)
        else:
            self.say(f"sending {self.volume.name}")
            sent = np.ascontiguousarray(voxels)  # a copy is made by the client, in the thread
            facts = {**grid.facts, **opening.given}
            session = yield lambda: server.upload(sent, **facts)
        if not self.volume.exists:
            yield session.close
            raise GoneError("the volume was closed while it was sent")
        self.session, self._grid, self._opened_at = session, grid, self.moment()
        self._shown.clear()

    def _ask(self, do: Callable[[], Any]) -> Task:
        """Something of the session; one that has ended is begun again with what is seen, once."""
        failed = client().ServerError
        if self.session is None:
            raise Problem("expected an open volume, got none; open one first")
        try:
            yield do
            return
        except failed as error:
            if error.status not in (404, 410):
                raise
            if "taken over" in str(error):
                self.session = None
                raise Problem(
                    f"{error}; another window works on this image: tick Take over and open it again"
                ) from None
            self.say("the session had ended; it is begun again with the segments that are there")
        yield from self._open()
        yield from self._push()
        yield do

    def _prompted(self, body: Dict[str, Any], name: str) -> None:
        known = {**body, "object": name}
        index = known.pop("slice", None)
        if "points" in known:
            self.session.points(known.pop("points"), index, **known)
        elif "box3d" in known:
            self.session.box3d(known.pop("box3d"), **known)
        elif "box" in known:
            self.session.box(known.pop("box"), index, **known)
        elif "mask" in known:
            self.session.mask(known.pop("mask"), index, **known)
        else:
            marker = known.pop("marker")
            self.session.marker(marker["long"], marker.get("short"), index, **known)

    def _object_of(self, segment: Optional[str]) -> Optional[str]:
        """The object of a segment, if the server knows one."""
        tagged = self.segments.tag(segment, OBJECT) if segment is not None else ""
        return tagged if tagged in self.session.objects else None

    def _named(self, segment: str) -> str:
        """A name for a segment's object that no other has."""
        wanted = self.segments.name(segment).strip() or "object"
        taken, found, number = set(self.session.objects), wanted, 1
        while found in taken:
            number += 1
            found = f"{wanted} ({number})"
        return found

    def _tie(self, segment: str, name: str) -> None:
        """A segment and an object belong together; one that was deleted meanwhile takes it along."""
        if segment in self.segments.ids:
            self.segments.set_tag(segment, OBJECT, name)
        self._shown.setdefault(name, _bits(np.zeros(self._grid.shape, bool)))

    def _push(self) -> Task:
        """Tell the server what was done by hand since the last answer."""
        if self.session is None:
            raise Problem("expected an open volume, got none; open one first")
        yield from self._ask(lambda: self.session.refresh())
        there = self.segments.ids
        tags = {self.segments.tag(s, OBJECT): s for s in there}
        for name in [n for n in self._shown if n not in tags]:  # deleted by hand
            del self._shown[name]
            if name in self.session.objects:
                yield from self._ask(lambda n=name: self.session.change_object(n, remove=True))
        for segment in there:
            name = self._object_of(segment)
            if name is None:
                if self.segments.tag(segment, OBJECT):  # of a session that has ended
                    yield from self._brush(segment, self._named(segment))
                continue
            yield from self._rename(segment, name)
            yield from self._brush(segment, self.segments.tag(segment, OBJECT))

    def _rename(self, segment: str, name: str) -> Task:
        entry = next(e for e in self.session.state["objects"] if e["name"] == name)
        colour = list(self.segments.colour(segment))
        if entry["colour"] != colour:
            yield from self._ask(lambda: self.session.change_object(name, colour=colour))
        said = self.segments.name(segment).strip()
        if said and said != name and not name.startswith(f"{said} ("):
            new = self._named(segment)
            yield from self._ask(lambda: self.session.change_object(name, name=new))
            if name in self._shown:
                self._shown[new] = self._shown.pop(name)
            self.segments.set_tag(segment, OBJECT, new)

    def _brush(self, segment: str, name: str) -> Task:
        """Slices that were painted are the answers of their slices."""
        grid = self._same_grid()
        mask = self.segments.mask(segment, grid)
        before = self._shown.get(name)
        old = np.zeros(grid.shape, bool) if before is None else _mask(before, grid.shape)
        axis = next((e["axis"] for e in self.session.state["objects"] if e["name"] == name), "z")
        k = 2 - AXES.index(axis)  # position in the array
        changed = np.flatnonzero((mask != old).any(axis=tuple({0, 1, 2} - {k})))
        for index in changed.tolist():
            pixels = np.take(mask, index, k)
            body = {"axis": axis, "slice": index, "mask": pixels, "as_drawn": True, "spread": False}
            yield from self._ask(lambda b=body: self._prompted(b, name))
        if len(changed):
            self._tie(segment, name)
            self._shown[name] = _bits(mask)

    def _pull(self) -> Task:
        """Show what the server's masks are now; also objects that no segment had.

        What was painted since they were shown last stays, and is sent with the next prompt.
        """
        yield _nothing
        if self.session is None:
            return
        grid = self._same_grid()
        states = {entry["name"]: entry for entry in self.session.state["objects"]}
        tags = {self.segments.tag(s, OBJECT): s for s in self.segments.ids}
        for name in [n for n in self._shown if n not in states and n in tags]:
            self._put(tags[name], self._shown.pop(name), np.zeros(grid.shape, bool))  # undone
        for name, entry in states.items():
            segment = tags.get(name)
            if segment is None:
                if name in self._shown:  # deleted by hand while the answer was under way
                    continue
                code = entry.get("words", {}).get("code", "")
                segment = self.segments.add(name, entry["colour"], terminology(name, code))
                self._tie(segment, name)
            mask = self.session.masks.get(name, np.zeros(grid.shape, bool)).reshape(grid.shape)
            bits = _bits(mask)
            shown = self._shown.get(name)
            if shown is None or not np.array_equal(shown, bits):
                self._put(segment, shown, mask)
            self._shown[name] = bits
            if entry["label"] is not None:
                self.segments.mark(segment, "doubtful" if entry.get("doubtful") else "begun")
        if warning := self.session.state.get("warning"):
            self.say(warning)

    def _put(self, segment: str, shown: Optional[np.ndarray], mask: np.ndarray) -> None:
        """A new mask in a segment that showed another; voxels that were painted since stay."""
        grid = self._same_grid()
        if shown is not None:
            now = self.segments.mask(segment, grid)
            mask = np.where(now != _mask(shown, grid.shape), now, mask)
        self.segments.put(segment, mask, grid)

    def _follow(self, give_way: bool = True) -> Task:
        """Wait for the other slices, with progress; give way to the next task, if it may."""
        self._stop = False
        while self.session is not None and self.session.following:
            state = self.session.state
            names, axis = ", ".join(state["following"]), state["image"]["axis"]
            axes = {e["axis"] for e in state["objects"] if e["name"] in state["following"]}
            axis = axes.pop() if len(axes) == 1 else axis
            of = self._grid.shape[2 - AXES.index(axis)]
            self.say(f"following {names}: {state['encoded'].get(axis, 0)} of {of} slices encoded")
            if self._stop:
                yield from self._ask(lambda: self.session.cancel())
                break
            if give_way and self.worker.wanted:
                return
            yield from self._ask(self._look)
        yield from self._pull()
        self.say("" if self.session is None else self.session.state.get("warning") or "")

    def _look(self) -> None:
        time.sleep(_PAUSE)
        self.session.refresh()

    def _same_grid(self) -> Grid:
        """The grid, where the voxels lie now.

        Raises:
            GoneError: the volume or the segmentation was closed.
            Problem: the volume is of another size now, or of another time point.
        """
        grid = self.volume.grid
        if not self.segments.exists:
            raise GoneError("the segmentation was closed; the answer is dropped")
        if self._grid is None or grid.shape != self._grid.shape:
            raise Problem("the volume has another size than when it was opened; open it again")
        if self.moment() != self._opened_at:
            raise Problem("another time point is shown than the one that was opened; open it")
        return grid


def _nothing() -> None:
    return None


def _bits(mask: np.ndarray) -> np.ndarray:
    return np.packbits(mask)


def _mask(bits: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)


def _difference(
    session: Any, grid: Grid, voxels: np.ndarray, there: np.ndarray, middle: int
) -> str:
    """Why a file of the server is not the volume here; empty if it is."""
    image = session.state["image"]
    do = "leave the path empty to send the volume"
    if tuple(image["shape"]) != grid.shape:
        return f"expected {image['name']} of {grid.shape} voxels, got {tuple(image['shape'])}; {do}"
    matrix = np.eye(4)
    turned = np.diag([-1.0, -1.0, 1.0])
    matrix[:3, :3] = turned @ np.asarray(image["matrix"])[:3, :3]
    matrix[:3, 3] = turned @ np.asarray(image["origin"])
    if image["unit"] == "mm" and not grid.agrees_with(Grid(grid.shape, matrix)):
        return f"expected {image['name']} where the volume lies, got another place or orientation; {do}"
    if not np.allclose(there, voxels[middle], rtol=1e-3, atol=0.5):
        return f"expected {image['name']} with the values of the volume, got others; {do}"
    return ""
