"""Our own interface: the table of routes under /api, and what answers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from promptseg.errors import InputError
from promptseg.formats import ReadOptions
from promptseg.formats.files import provenance_path
from promptseg.segment.options import SegmentOptions
from promptseg.serve.audit import Audit
from promptseg.serve.changes import packed
from promptseg.serve.describe import colour_of, prompt_of, server_facts, session_facts
from promptseg.serve.desk import Desk
from promptseg.serve.refusals import RefusedError, TakenError
from promptseg.serve.results import download, save
from promptseg.serve.voxels import axis_named, image_of, read_npy, slices_of, window_of
from promptseg.serve.web.bodies import (
    NewObject,
    ObjectChange,
    Open,
    Prompting,
    Save,
    Since,
    Steps,
    Upload,
    parsed,
)
from promptseg.serve.web.own_folder import OwnFolder
from promptseg.serve.web.own_slide import OwnSlide
from promptseg.serve.web.own_times import OwnTimes
from promptseg.serve.web.own_users import OwnUsers
from promptseg.serve.web.own_video import OwnVideo
from promptseg.serve.web.requests import (
    body_bytes,
    body_of,
    json_answer,
    json_of,
    let_pass,
    number_of,
    threaded,
)
from promptseg.serve.web.table import Entry, openapi
from promptseg.serve.work import Event, Work

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["Own"]

_LONGEST_WAIT = 30.0

_SINCE = ("since", "revision the client has")
_CHANGE = "what changed: revision, since, regions, following, warning, state (see docs/server.md)"


class Own:
    """The handlers, on one desk."""

    def __init__(self, desk: Desk, audit: Audit | None = None) -> None:
        self.desk, self.video = desk, OwnVideo(desk)
        at = "/api/sessions/{session}"
        slices = (
            ("axis", "z, y or x; that of the session if not given"),
            ("index", "first slice; 0 if not given"),
            ("count", "how many; 1 if not given"),
            ("lower", "value shown black; with upper, 8-bit values are sent"),
            ("upper", "value shown white"),
        )
        ending = (("ending", "such as .nii.gz"), ("overlap", "keep or later-wins"))
        self.entries = [
            Entry("GET", "/api/info", "models, windows, formats and limits", self.info),
            Entry("GET", "/api/openapi.json", "this document", self.document),
            *OwnFolder(desk).entries,
            *OwnTimes(desk).entries,
            *OwnSlide(desk).entries,
            *OwnUsers(desk, audit).entries,
            *self.video.entries,
            Entry("POST", "/api/sessions", "open an image of the folder", self.open, Open),
            Entry(
                "POST",
                "/api/uploads",
                "open an array: a .npy file; X-Meta has its facts",
                self.upload,
                "binary",
            ),
            Entry("GET", at, "everything but voxels and masks", self.state),
            Entry("DELETE", at, "close it; what was done is kept", self.close),
            Entry(
                "GET",
                f"{at}/slices",
                "voxels of slices",
                self.slices,
                query=slices,
                gives="raw little-endian voxels; X-Shape and X-Dtype say of what",
                binary=True,
            ),
            Entry(
                "GET",
                f"{at}/changes",
                "masks, or what changed since a revision",
                self.changes,
                query=(_SINCE, ("wait", "seconds to wait until nothing is propagated any more")),
                gives=_CHANGE,
            ),
            self._step("POST", f"{at}/prompts", "prompt an object", self.prompt, Prompting),
            Entry("POST", f"{at}/preview", "a prompt's mask, as no step", self.preview, Prompting),
            self._step("POST", f"{at}/objects", "a new object", self.new_object, NewObject),
            self._step(
                "PUT", f"{at}/objects", "name, colour, current", self.change_object, ObjectChange
            ),
            self._step("POST", f"{at}/undo", "steps back", self.undo, Steps),
            self._step("POST", f"{at}/redo", "steps forth", self.redo, Steps),
            self._step("POST", f"{at}/cancel", "stop propagating", self.cancel, Since),
            Entry("GET", f"{at}/measurements", "sizes of the objects", self.measurements),
            Entry("POST", f"{at}/save", "write the masks into the folder", self.save, Save),
            Entry(
                "GET",
                f"{at}/download",
                "the masks as one file",
                self.download,
                query=ending,
                gives="the file",
                binary=True,
            ),
        ]

    def _step(self, method: str, path: str, does: str, handler: Any, body: Any) -> Entry:
        return Entry(method, path, does, handler, body, gives=_CHANGE)

    def _work(self, request: Request, act: bool = True) -> Work:
        return self.desk.get(request.path_params["session"], act)

    async def info(self, request: Request) -> Response:
        """GET /api/info."""
        return json_answer(await threaded(lambda: server_facts(self.desk)))

    async def document(self, request: Request) -> Response:
        """GET /api/openapi.json."""
        return json_answer(openapi(self.entries))

    async def open(self, request: Request) -> Response:
        """POST /api/sessions."""
        asked = await body_of(request, Open)
        choices = ReadOptions(series=asked.series, frame=asked.frame, stack=asked.stack)
        options = self._options(asked)

        def do() -> dict[str, Any]:
            work = self.desk.open_path(
                asked.path,
                asked.model,
                choices,
                options,
                take_over=asked.take_over,
                afresh=asked.afresh,
                of=asked.of,
            )
            return session_facts(work)

        return json_answer(await threaded(do))

    async def upload(self, request: Request) -> Response:
        """POST /api/uploads."""
        facts = parsed(Upload, json_of(request.headers.get("x-meta", "").encode()))
        limits = self.desk.limits
        said = request.headers.get("content-length", "")
        try:
            await threaded(lambda: self.desk.require_room(int(said) if said.isdecimal() else 0))
        except RefusedError:
            await let_pass(request)
            raise
        content = await body_bytes(request, min(limits.upload_bytes, limits.session_bytes))
        options = self._options(facts)

        def do() -> dict[str, Any]:
            image = image_of(read_npy(content, limits.session_bytes), facts)
            return session_facts(self.desk.open_image(image, facts.model, options))

        return json_answer(await threaded(do))

    def _options(self, asked: Open | Upload) -> SegmentOptions:
        """The server's options, with what is asked."""
        names = ("modality", "window", "axis", "propagate")
        given = {k: v for k in names if (v := getattr(asked, k)) is not None}
        if "propagate" in given:
            from promptseg.segment.projection import MEMORY, MODES

            if given["propagate"] not in (*MODES, MEMORY, "none"):
                raise InputError(
                    f"propagate out of {', '.join((*MODES, MEMORY))}, none",
                    repr(given["propagate"])[:60],
                )
        return replace(self.desk.options, **given)

    async def state(self, request: Request) -> Response:
        """GET /api/sessions/{session}."""
        work = self._work(request, act=False)
        return json_answer(await threaded(lambda: session_facts(work)))

    async def close(self, request: Request) -> Response:
        """DELETE /api/sessions/{session}."""
        work = self._work(request)
        await threaded(lambda: self.desk.close(work.id))
        return json_answer({"closed": True})

    async def slices(self, request: Request) -> Response:
        """GET /api/sessions/{session}/slices."""
        from starlette.responses import Response as Answer

        work = self._work(request)
        session = work.session
        axis = axis_named(request.query_params.get("axis"), session.axis)
        first, count = number_of(request, "index", 0), number_of(request, "count", 1)
        window = window_of(*(request.query_params.get(k) for k in ("lower", "upper")))

        def do() -> NDArray[Any]:
            return slices_of(session.image, axis, first or 0, 1 if count is None else count, window)

        found = await threaded(do)
        if count == 1:
            work.focus = (axis, first or 0)
        headers = {
            "X-Shape": ",".join(map(str, found.shape)),
            "X-Dtype": found.dtype.str.lstrip("<|>="),
        }
        return Answer(found.tobytes(), 200, headers, media_type="application/octet-stream")

    async def changes(self, request: Request) -> Response:
        """GET /api/sessions/{session}/changes."""
        work = self._work(request, act=False)
        since, wait = number_of(request, "since"), number_of(request, "wait", 0) or 0
        if wait > 0:
            await threaded(lambda: work.wait(min(wait, _LONGEST_WAIT)))
        return await self._answer(work, since)

    async def prompt(self, request: Request) -> Response:
        """POST /api/sessions/{session}/prompts."""
        work, asked = self._work(request), await body_of(request, Prompting)
        prompt = prompt_of(asked, work, self.desk)
        if asked.slice is not None:
            work.focus = (asked.axis or work.session.axis, asked.slice)
        return await self._done(
            work, asked.since, lambda: work.prompt(prompt, asked.object, asked.spread, asked.slice)
        )

    async def preview(self, request: Request) -> Response:
        """POST /api/sessions/{session}/preview."""
        work, asked = self._work(request), await body_of(request, Prompting)
        prompt = prompt_of(asked, work, self.desk)

        def do() -> dict[str, Any]:
            segment = work.preview(prompt, asked.object, asked.slice)
            if segment is None or segment.is_empty:
                return {"region": None, "bits": None, "predicted_iou": None}
            iou = segment.predicted_iou
            return {**packed(segment.crop, segment.region), "predicted_iou": iou}

        return json_answer(await threaded(do))

    async def new_object(self, request: Request) -> Response:
        """POST /api/sessions/{session}/objects."""
        work, asked = self._work(request), await body_of(request, NewObject)

        def do() -> None:
            colour = None if asked.colour is None else colour_of(asked.colour)
            name = work.change(lambda: work.session.new_object(asked.name))[0]
            if colour:
                self.desk.paint(work, name, colour)

        return await self._done(work, asked.since, do)

    async def change_object(self, request: Request) -> Response:
        """PUT /api/sessions/{session}/objects."""
        work, asked = self._work(request), await body_of(request, ObjectChange)
        session, name = work.session, asked.object
        colour = None if asked.colour is None else colour_of(asked.colour)

        def do() -> None:
            if asked.remove:
                work.change(lambda: session.remove_object(name))
                return
            if name not in session.objects:
                raise InputError("an object of the session", repr(name)[:100])
            if asked.select:
                work.change(lambda: session.select(name))
            if colour:
                self.desk.paint(work, name, colour)
            if asked.name is not None and asked.name != name:
                new = asked.name
                work.change(lambda: session.rename_object(name, new))
                if name in work.colours:
                    self.desk.paint(work, new, work.colours[name])

        return await self._done(work, asked.since, do)

    async def undo(self, request: Request) -> Response:
        """POST /api/sessions/{session}/undo."""
        return await self._go(request, -1)

    async def redo(self, request: Request) -> Response:
        """POST /api/sessions/{session}/redo."""
        return await self._go(request, 1)

    async def _go(self, request: Request, by: int) -> Response:
        work, asked = self._work(request), await body_of(request, Steps)
        session = work.session

        def do() -> None:
            last = len(session.history) - 1
            to = session.position + by if asked.to is None else asked.to
            if asked.to is not None and not 0 <= to <= last:
                raise InputError(f"a step from 0 to {last}", str(to))
            session.position = min(max(to, 0), last)

        return await self._done(work, asked.since, lambda: work.change(do))

    async def cancel(self, request: Request) -> Response:
        """POST /api/sessions/{session}/cancel."""
        work, asked = self._work(request), await body_of(request, Since)
        return await self._done(work, asked.since, work.cancel)

    async def measurements(self, request: Request) -> Response:
        """GET /api/sessions/{session}/measurements."""
        work = self._work(request)

        def do() -> dict[str, Any]:
            return {name: dict(s.measurements) for name, s in work.masks.items() if s is not None}

        return json_answer(await threaded(do))

    async def save(self, request: Request) -> Response:
        """POST /api/sessions/{session}/save."""
        work, asked = self._work(request), await body_of(request, Save)
        folder = self.desk.folder
        if folder is None:
            raise InputError("a server with a folder", "none", "download the masks instead")
        path = folder.output(asked.path)
        there = path.exists() or provenance_path(path).exists()
        if there and not asked.overwrite:
            raise TakenError(
                "a new file", f"{asked.path!r:.200}, which exists", "overwrite it, or rename"
            )

        def do() -> dict[str, Any]:
            save(
                work,
                path,
                overwrite=asked.overwrite,
                overlap=asked.overlap,
                deidentify=asked.deidentify,
            )
            return {"path": folder.name_of(path), "bytes": path.stat().st_size}

        return json_answer(await threaded(do))

    async def download(self, request: Request) -> Response:
        """GET /api/sessions/{session}/download."""
        from starlette.responses import Response as Answer

        work = self._work(request)
        ending = request.query_params.get("ending", ".nii.gz")
        overlap = request.query_params.get("overlap", "keep")
        content = await threaded(lambda: download(work, ending, overlap))
        headers = {"Content-Disposition": f'attachment; filename="masks{ending}"'}
        return Answer(content, 200, headers, media_type="application/octet-stream")

    async def _done(
        self, work: Work, since: int | None, do: Callable[[], Event | tuple[Any, Event] | None]
    ) -> Response:
        """Do something; what it changed, for this client now and for the others as an event."""
        before = work.revision
        await threaded(do)
        if work.revision != before:
            work.tell({"type": "stepped", "revision": work.revision})
        return await self._answer(work, before if since is None else since)

    async def _answer(self, work: Work, since: int | None) -> Response:
        def told() -> dict[str, Any]:
            change = work.since(since)
            return {**change, "state": session_facts(work, change["since"])}

        return json_answer(await threaded(told))
