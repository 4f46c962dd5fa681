"""Our own interface: whole slides, their tiles, and the work on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError, PromptError
from promptseg.serve.describe import colour_of
from promptseg.serve.desk import Desk
from promptseg.serve.refusals import TakenError
from promptseg.serve.slide_desk import SlideDesk
from promptseg.serve.slide_work import SlideWork
from promptseg.serve.web.bodies import NewObject, ObjectChange, Save, Steps
from promptseg.serve.web.requests import body_of, json_answer, number_of, threaded
from promptseg.serve.web.table import Entry
from promptseg.slides.geojson import geojson, write_geojson
from promptseg.slides.regions import View

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["OwnSlide"]

_ENDING = ".geojson"
_MOST_CLICKS = 1000
_STATE = "the state of the session"


@dataclass(frozen=True, kw_only=True)
class OpenSlide:
    """Open a slide of the folder that is served."""

    path: str
    """Below the folder."""
    model: str | None = None
    """A loaded model; the first if not given."""
    series: str | None = None
    """SeriesInstanceUID, or its ending, where a folder holds several."""
    take_over: bool = False
    """End the session of another window on the slide."""
    afresh: bool = False
    """Leave the earlier session on the slide aside."""
    of: str | None = None
    """User whose work is looked at, for reviewers and admins; nothing of it can be changed."""


@dataclass(frozen=True, kw_only=True)
class SlidePrompting:
    """One prompt in pixels of the slide's largest level; exactly one of box and points."""

    view: list[float]
    """[x, y, width, height] of what is looked at."""
    zoom: int
    """A pixel on the screen is about 2**zoom of the slide's."""
    object: str | None = None
    """Name; the current object, or a first new one, if not given."""
    box: list[float] | None = None
    """[x0, y0, x1, y1], both ends inside."""
    points: list[list[float]] | None = None
    """[[x, y, label], ...] with label 1 inside and 0 outside."""


class OwnSlide:
    """The handlers, on the slides of one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.slides = desk, SlideDesk(desk)
        at = "/api/slides/{session}"
        where = (
            ("zoom", "0 for the full resolution; each further one has half as many pixels"),
            ("column", "from 0"),
            ("row", "from 0"),
        )
        self.entries = [
            self._step("POST", "/api/slides", "open a slide of the folder", self.open, OpenSlide),
            self._step("GET", at, "everything but tiles and outlines", self.state, None),
            Entry("DELETE", at, "close it; what was done is kept", self.close),
            Entry(
                "GET",
                f"{at}/tile",
                "a tile as JPEG, 512 pixels along each side",
                self.tile,
                query=where,
                gives="the picture",
                binary=True,
            ),
            Entry(
                "GET",
                f"{at}/outline",
                "polygons with holes of an object",
                self.outline,
                query=(("version", "what the state says of the object as `outline`"),),
            ),
            self._step("POST", f"{at}/prompts", "prompt an object", self.prompt, SlidePrompting),
            self._step("POST", f"{at}/objects", "a new object", self.new_object, NewObject),
            self._step(
                "PUT", f"{at}/objects", "name, colour, current", self.change_object, ObjectChange
            ),
            self._step("POST", f"{at}/undo", "steps back", self.undo, Steps),
            self._step("POST", f"{at}/redo", "steps forth", self.redo, Steps),
            Entry("POST", f"{at}/save", "write the objects as GeoJSON", self.save, Save),
            Entry("GET", f"{at}/download", "the objects as GeoJSON", self.download),
        ]

    def _step(self, method: str, path: str, does: str, handler: Any, body: Any) -> Entry:
        return Entry(method, path, does, handler, body, gives=_STATE)

    def _work(self, request: Request, act: bool = True) -> SlideWork:
        return self.slides.get(request.path_params["session"], act)

    async def open(self, request: Request) -> Response:
        """POST /api/slides."""
        asked = await body_of(request, OpenSlide)

        def do() -> dict[str, Any]:
            work = self.slides.open(
                asked.path,
                asked.model,
                asked.series,
                take_over=asked.take_over,
                afresh=asked.afresh,
                of=asked.of,
            )
            return work.facts()

        return json_answer(await threaded(do))

    async def state(self, request: Request) -> Response:
        """GET /api/slides/{session}."""
        return json_answer(await threaded(self._work(request, act=False).facts))

    async def close(self, request: Request) -> Response:
        """DELETE /api/slides/{session}."""
        work = self._work(request)
        await threaded(lambda: self.slides.close(work.id))
        return json_answer({"closed": True})

    async def tile(self, request: Request) -> Response:
        """GET /api/slides/{session}/tile."""
        from starlette.responses import Response as Answer

        work = self._work(request)
        zoom, column, row = (number_of(request, name, 0) or 0 for name in ("zoom", "column", "row"))
        content = await threaded(lambda: work.tiles.tile(zoom, column, row))
        return Answer(content, media_type="image/jpeg")

    async def outline(self, request: Request) -> Response:
        """GET /api/slides/{session}/outline."""
        work, version = self._work(request), number_of(request, "version", 0) or 0
        polygons = await threaded(lambda: work.outline(version))
        return json_answer({"version": version, "polygons": polygons})

    async def prompt(self, request: Request) -> Response:
        """POST /api/slides/{session}/prompts."""
        work, asked = self._work(request), await body_of(request, SlidePrompting)
        view, session = _view(asked), work.session
        if (asked.box is None) == (asked.points is None):
            raise PromptError("one of box, points", "both" if asked.box else "none")
        if asked.box is not None:
            box = asked.box
            if len(box) != 4:
                raise PromptError("a box [x0, y0, x1, y1]", repr(box)[:100])
            return await self._done(
                work, lambda: session.add_box((box[0], box[1], box[2], box[3]), view, asked.object)
            )
        clicks = _clicks(asked.points or [])
        return await self._done(work, lambda: session.add_clicks(clicks, view, asked.object))

    async def new_object(self, request: Request) -> Response:
        """POST /api/slides/{session}/objects."""
        work, asked = self._work(request), await body_of(request, NewObject)

        def do() -> None:
            colour = None if asked.colour is None else colour_of(asked.colour)
            name = work.session.new_object(asked.name)
            if colour:
                self.desk.paint(work, name, colour)

        return await self._done(work, do)

    async def change_object(self, request: Request) -> Response:
        """PUT /api/slides/{session}/objects."""
        work, asked = self._work(request), await body_of(request, ObjectChange)
        session, name = work.session, asked.object
        colour = None if asked.colour is None else colour_of(asked.colour)

        def do() -> None:
            if name not in session.step.objects:
                raise InputError("an object of the session", repr(name)[:100])
            if asked.remove:
                session.remove_object(name)
                return
            if asked.select:
                session.select(name)
            if colour:
                self.desk.paint(work, name, colour)
            if asked.name is not None and asked.name != name:
                session.rename_object(name, asked.name)
                if name in work.colours:
                    self.desk.paint(work, asked.name, work.colours[name])

        return await self._done(work, do)

    async def undo(self, request: Request) -> Response:
        """POST /api/slides/{session}/undo."""
        return await self._go(request, -1)

    async def redo(self, request: Request) -> Response:
        """POST /api/slides/{session}/redo."""
        return await self._go(request, 1)

    async def _go(self, request: Request, by: int) -> Response:
        work, asked = self._work(request), await body_of(request, Steps)
        session = work.session

        def do() -> None:
            last = len(session.history) - 1
            if asked.to is not None and not 0 <= asked.to <= last:
                raise InputError(f"a step from 0 to {last}", str(asked.to))
            session.go_to(session.position + by if asked.to is None else asked.to)

        return await self._done(work, do)

    async def save(self, request: Request) -> Response:
        """POST /api/slides/{session}/save."""
        work, asked = self._work(request), await body_of(request, Save)
        folder = self.desk.folder
        if folder is None:
            raise InputError("a server with a folder", "none", "download the objects instead")
        path = folder.output(asked.path)
        if not path.name.lower().endswith(_ENDING):
            raise InputError(f"a file name that ends in {_ENDING}", repr(path.name)[:100])
        if path.exists() and not asked.overwrite:
            raise TakenError(
                "a new file", f"{asked.path!r:.200}, which exists", "overwrite it, or rename"
            )

        def do() -> dict[str, Any]:
            _require_objects(work)
            colours = {name: work.colour(name) for name in work.session.step.objects}
            write_geojson(work.session, path, colours, overwrite=asked.overwrite)
            return {"path": folder.name_of(path), "bytes": path.stat().st_size}

        return json_answer(await threaded(lambda: work.alone(do)))

    async def download(self, request: Request) -> Response:
        """GET /api/slides/{session}/download."""
        work = self._work(request)

        def do() -> dict[str, Any]:
            _require_objects(work)
            colours = {name: work.colour(name) for name in work.session.step.objects}
            return geojson(work.session, colours)

        answer = json_answer(await threaded(lambda: work.alone(do)))
        answer.headers["Content-Disposition"] = 'attachment; filename="objects.geojson"'
        return answer

    async def _done(self, work: SlideWork, do: Callable[[], object]) -> Response:
        def done() -> dict[str, Any]:
            work.change(do)
            return work.facts()

        return json_answer(await threaded(done))


def _view(asked: SlidePrompting) -> View:
    """What is looked at.

    Raises:
        PromptError: no rectangle.
    """
    if len(asked.view) != 4 or min(asked.view[2:]) <= 0 or not 0 <= asked.zoom < 32:
        raise PromptError(
            "a view [x, y, width, height] and a zoom from 0", f"{asked.view!r:.100}, {asked.zoom}"
        )
    x, y, width, height = asked.view
    return View(x, y, width, height, asked.zoom)


def _clicks(points: list[list[float]]) -> list[tuple[float, float, int]]:
    if not 1 <= len(points) <= _MOST_CLICKS or any(
        len(p) != 3 or p[2] not in (0, 1) for p in points
    ):
        raise PromptError(
            f"1 to {_MOST_CLICKS} points [x, y, label] with label 0 or 1", repr(points)[:100]
        )
    return [(p[0], p[1], int(p[2])) for p in points]


def _require_objects(work: SlideWork) -> None:
    session = work.session
    if not any(session.grid(name).area for name in session.step.objects):
        raise PromptError("at least one object that is not empty", "none", "add a prompt first")
