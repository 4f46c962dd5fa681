"""Our own interface: videos, with objects propagated through all frames, and files that are sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError, OutputError, PromptError
from promptseg.prompts import Box, Points, Prompt
from promptseg.segment.options import SegmentOptions
from promptseg.segment.projection import MEMORY, MODES
from promptseg.serve.desk import Desk
from promptseg.serve.refusals import AbsentError, BusyError, RefusedError
from promptseg.serve.turns import CancelledError
from promptseg.serve.uploads import place_for, receiving
from promptseg.serve.video.describe import masks_facts, timeline_facts, video_facts
from promptseg.serve.video.results import save_results, write_downloads
from promptseg.serve.video.videos import Videos
from promptseg.serve.video.work import VideoWork, absent_on
from promptseg.serve.web.bodies import Nothing
from promptseg.serve.web.bodies_video import (
    OpenVideo,
    ResetVideo,
    Results,
    Track,
    VideoObject,
    VideoObjectChange,
    VideoPrompt,
    VideoSteps,
)
from promptseg.serve.web.requests import body_of, json_answer, let_pass, number_of, threaded
from promptseg.serve.web.table import Entry

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["OwnVideo"]

_MOST_POINTS = 1000
_MOST_OF_STROKE = 20_000
_LONGEST_WAIT = 30.0
_BLOCK = 1 << 20
_STATE = "the state of the session (see docs/server.md)"


class OwnVideo:
    """The handlers, on one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.videos = desk, Videos(desk)
        at = "/api/videos/{session}"
        frames = (("frame", "number of the first frame"), ("count", "how many; 1 if not given"))
        self.entries = [
            Entry(
                "POST",
                "/api/files",
                "put a file into the folder, streamed to the disk",
                self.receive,
                "binary",
                query=(("path", "where, below the folder"),),
            ),
            Entry(
                "GET",
                "/api/videos",
                "what is known of a video before it is opened",
                self.facts,
                query=(("path", "of the video"), ("series", "of several")),
            ),
            Entry("POST", "/api/videos", "open a video of the folder", self.open, OpenVideo),
            self._entry("GET", at, "everything but pictures and masks", self.state, None),
            Entry("DELETE", at, "close it; what was done is kept", self.close),
            Entry(
                "GET",
                f"{at}/frame",
                "a frame as the model sees it",
                self.frame,
                query=(("frame", "its number"), ("width", "pixels, if it is to be smaller")),
                gives="a JPEG",
                binary=True,
            ),
            Entry("GET", f"{at}/masks", "masks on some frames", self.masks, query=frames),
            Entry(
                "GET",
                f"{at}/timeline",
                "when each object is there, and its score",
                self.timeline,
                query=(("wait", "seconds to wait until nothing is propagated any more"),),
            ),
            self._entry("POST", f"{at}/prompts", "prompt an object", self.prompt, VideoPrompt),
            self._entry("POST", f"{at}/objects", "a new object", self.new_object, VideoObject),
            self._entry(
                "PUT",
                f"{at}/objects",
                "name, current, remove",
                self.change_object,
                VideoObjectChange,
            ),
            self._entry("POST", f"{at}/reset", "start anew", self.reset, ResetVideo),
            self._entry("POST", f"{at}/track", "propagate objects", self.track, Track),
            self._entry(
                "POST", f"{at}/cancel", "stop propagating or writing", self.cancel, Nothing
            ),
            self._entry("POST", f"{at}/undo", "steps back", self.undo, VideoSteps),
            self._entry("POST", f"{at}/redo", "steps forth", self.redo, VideoSteps),
            Entry("POST", f"{at}/results", "write results", self.results, Results),
            Entry(
                "GET",
                f"{at}/results/{{name}}",
                "a file that was written for download",
                self.download,
                gives="the file",
                binary=True,
            ),
        ]

    def _entry(self, method: str, path: str, does: str, handler: Any, body: Any) -> Entry:
        return Entry(method, path, does, handler, body, gives=_STATE)

    def _work(self, request: Request, act: bool = True) -> VideoWork:
        return self.videos.get(request.path_params["session"], act)

    async def receive(self, request: Request) -> Response:
        """POST /api/files."""
        limit = self.desk.limits.upload_bytes
        said = request.headers.get("content-length", "")
        announced = int(said) if said.isdecimal() else None
        try:
            folder = self.videos.folder
            name = request.query_params.get("path", "")
            path = await threaded(lambda: place_for(folder, name, announced, limit))
        except Exception:
            await let_pass(request)
            raise
        waiting: list[bytes] = []

        with contextlib.ExitStack() as stack:
            incoming = stack.enter_context(receiving(path, limit))

            async def flush() -> None:
                content = b"".join(waiting)
                waiting.clear()
                await threaded(lambda: incoming.add(content))

            stream = request.stream()
            try:
                async for chunk in stream:
                    waiting.append(chunk)
                    if sum(map(len, waiting)) >= _BLOCK:
                        await flush()
                await flush()
            except RefusedError:
                await let_pass(request)
                raise
            size = incoming.size
            if announced is not None and size != announced:
                raise InputError(f"a file of {announced:,} bytes", f"{size:,}", "send it again")
        return json_answer({"path": folder.name_of(path), "bytes": size})

    async def facts(self, request: Request) -> Response:
        """GET /api/videos."""
        path = request.query_params.get("path", "")
        series = request.query_params.get("series")
        found = await threaded(lambda: self.videos.facts(path, series))
        return json_answer(found)

    async def open(self, request: Request) -> Response:
        """POST /api/videos."""
        asked = await body_of(request, OpenVideo)
        options = self._options(asked)

        def do() -> dict[str, Any]:
            work = self.videos.open(
                asked.path,
                asked.frames,
                asked.model,
                asked.series,
                options,
                take_over=asked.take_over,
                afresh=asked.afresh,
            )
            return video_facts(work)

        return json_answer(await threaded(do))

    def _options(self, asked: OpenVideo) -> SegmentOptions:
        """The server's options, with what is asked."""
        names = ("modality", "window", "propagate")
        given = {k: v for k in names if (v := getattr(asked, k)) is not None}
        known = (*MODES, MEMORY, "none")
        if given.get("propagate", "none") not in known:
            raise InputError(f"propagate out of {', '.join(known)}", f"{asked.propagate!r:.60}")
        return replace(self.desk.options, **given)

    async def state(self, request: Request) -> Response:
        """GET /api/videos/{session}."""
        work = self._work(request, act=False)
        return json_answer(await threaded(lambda: video_facts(work)))

    async def close(self, request: Request) -> Response:
        """DELETE /api/videos/{session}."""
        work = self._work(request)
        await threaded(lambda: self.videos.close(work.id))
        return json_answer({"closed": True})

    async def frame(self, request: Request) -> Response:
        """GET /api/videos/{session}/frame."""
        from starlette.responses import Response as Answer

        work = self._work(request)
        number, width = number_of(request, "frame", 0) or 0, number_of(request, "width")
        if width is not None and width < 1:
            raise InputError("width of at least 1", str(width))
        place = work.clip.frames.place(number, "a frame")
        content = await threaded(lambda: work.clip.picture(place, width))
        return Answer(content, 200, media_type="image/jpeg")

    async def masks(self, request: Request) -> Response:
        """GET /api/videos/{session}/masks."""
        work = self._work(request, act=False)
        frame, count = number_of(request, "frame", 0) or 0, number_of(request, "count", 1)
        found = await threaded(lambda: masks_facts(work, frame, 1 if count is None else count))
        return json_answer(found)

    async def timeline(self, request: Request) -> Response:
        """GET /api/videos/{session}/timeline."""
        work = self._work(request, act=False)
        wait = number_of(request, "wait", 0) or 0
        if wait > 0:
            await threaded(lambda: work.wait(min(wait, _LONGEST_WAIT)))
        return json_answer(await threaded(lambda: timeline_facts(work)))

    async def prompt(self, request: Request) -> Response:
        """POST /api/videos/{session}/prompts."""
        work, asked = self._work(request), await body_of(request, VideoPrompt)
        prompt = prompt_of(asked, work)
        return await self._done(work, lambda: work.prompt(prompt, asked.object))

    async def new_object(self, request: Request) -> Response:
        """POST /api/videos/{session}/objects."""
        work, asked = self._work(request), await body_of(request, VideoObject)
        return await self._done(work, lambda: work.new_object(asked.name))

    async def change_object(self, request: Request) -> Response:
        """PUT /api/videos/{session}/objects."""
        work, asked = self._work(request), await body_of(request, VideoObjectChange)

        def do() -> None:
            if asked.remove:
                work.remove(asked.object)
                return
            if asked.name is not None and asked.name.strip() != asked.object:
                work.rename(asked.object, asked.name)
                if asked.select:
                    work.select(asked.name.strip())
            elif asked.select or asked.name is not None:
                work.select(asked.object)

        return await self._done(work, do)

    async def reset(self, request: Request) -> Response:
        """POST /api/videos/{session}/reset."""
        work, asked = self._work(request), await body_of(request, ResetVideo)
        return await self._done(work, lambda: work.reset(asked.object))

    async def track(self, request: Request) -> Response:
        """POST /api/videos/{session}/track."""
        work, asked = self._work(request), await body_of(request, Track)
        return await self._done(work, lambda: work.track(asked.direction))

    async def cancel(self, request: Request) -> Response:
        """POST /api/videos/{session}/cancel."""
        work = self._work(request)
        await body_of(request, Nothing)
        return await self._done(work, work.cancel)

    async def undo(self, request: Request) -> Response:
        """POST /api/videos/{session}/undo."""
        return await self._go(request, -1)

    async def redo(self, request: Request) -> Response:
        """POST /api/videos/{session}/redo."""
        return await self._go(request, 1)

    async def _go(self, request: Request, by: int) -> Response:
        work, asked = self._work(request), await body_of(request, VideoSteps)
        to = asked.to
        return await self._done(work, lambda: work.move(by) if to is None else work.go_to(to))

    async def results(self, request: Request) -> Response:
        """POST /api/videos/{session}/results."""
        work, asked = self._work(request), await body_of(request, Results)
        if not asked.what:
            raise InputError("at least one kind of result", "none")
        where = asked.folder
        folder = None if where is None else self._place(where)

        def do() -> dict[str, Any]:
            try:
                if folder is None:
                    files = write_downloads(work, asked.what)
                else:
                    files = save_results(work, folder, asked.what, overwrite=asked.overwrite)
            except CancelledError:
                raise BusyError("results to be written to the end", "a stop", "ask again") from None
            root = self.videos.folder.root
            told = [{"name": file.name, "bytes": file.stat().st_size} for file in files]
            place = None if folder is None else folder.relative_to(root).as_posix()
            return {"folder": place, "files": told}

        return json_answer(await threaded(do))

    def _place(self, name: str) -> Path:
        """A folder for results below the root.

        Raises:
            OutputError: outside, the root itself, or a file.
        """
        folder = self.videos.folder
        try:
            path = folder.inside(name, "a folder")
        except AbsentError as error:
            raise OutputError(error.expected, error.got, "choose another name") from None
        if path == folder.root or path.is_file():
            raise OutputError("a folder for the results", f"{name!r:.100}", "choose another name")
        return path

    async def download(self, request: Request) -> Response:
        """GET /api/videos/{session}/results/{name}."""
        from starlette.responses import FileResponse

        work, name = self._work(request), request.path_params["name"]
        known = {path.name: path for path in work.results.glob("*") if path.is_file()}
        if name not in known:
            raise AbsentError("a file that was written for download", repr(name[:60]))
        kind = "application/octet-stream"
        return FileResponse(known[name], media_type=kind, filename=f"{work.clip.path.stem}_{name}")

    async def _done(self, work: VideoWork, do: Callable[[], object]) -> Response:
        """Do something; the state after it, for this client now and for others as an event."""
        before = work.revision
        await threaded(do)
        if work.revision != before:
            work.tell({"type": "stepped", "revision": work.revision})
        return json_answer(await threaded(lambda: video_facts(work)))


def prompt_of(asked: VideoPrompt, work: VideoWork) -> Prompt:
    """Return the prompt of a request, on a frame of the video.

    Raises:
        PromptError: none or several, or one that makes no sense.
    """
    kinds = ("box", "points", "stroke")
    given = [kind for kind in kinds if getattr(asked, kind) is not None]
    given += ["absent"] if asked.absent else []
    if len(given) != 1:
        raise PromptError("one of box, points, stroke and absent", " and ".join(given) or "none")
    name, frame = asked.object, asked.frame
    if asked.absent:
        return absent_on(work.clip, frame, name)
    if asked.box is not None:
        return Box(tuple(asked.box), frame, name, "z")  # type: ignore[arg-type]
    if asked.stroke is not None:
        return _box_of(asked.stroke, frame, name)
    points = asked.points or []
    if not 1 <= len(points) <= _MOST_POINTS or any(len(p) != 3 for p in points):
        raise PromptError(f"points [x, y, label], 1 to {_MOST_POINTS}", f"{points!r:.100}")
    xy = tuple((p[0], p[1]) for p in points)
    labels = tuple(int(p[2]) if p[2] in (0, 1) else -1 for p in points)
    return Points(xy, labels, frame, name, "z")


def _box_of(stroke: list[list[float]], frame: int, name: str | None) -> Box:
    """The bounding box of a stroke (as in the deployment of the SAM2 medical benchmark)."""
    if not 2 <= len(stroke) <= _MOST_OF_STROKE or any(len(point) != 2 for point in stroke):
        raise PromptError(f"a stroke of 2 to {_MOST_OF_STROKE} points [x, y]", f"{stroke!r:.100}")
    xs, ys = [point[0] for point in stroke], [point[1] for point in stroke]
    return Box((min(xs), min(ys), max(xs), max(ys)), frame, name, "z")
