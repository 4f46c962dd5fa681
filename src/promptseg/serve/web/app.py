"""The application: the table of routes, the socket, the page, and the guard before all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.errors import MissingPackageError
from promptseg.serve.archive import Archive
from promptseg.serve.audit import Audit
from promptseg.serve.desk import Desk
from promptseg.serve.refusals import AbsentError
from promptseg.serve.users import Users
from promptseg.serve.web.audited import audited
from promptseg.serve.web.guard import Guard
from promptseg.serve.web.monai import MonaiLabel
from promptseg.serve.web.nninteractive import Remote
from promptseg.serve.web.ohif import ohif_pages
from promptseg.serve.web.own import Own
from promptseg.serve.web.requests import error_answer, json_answer, threaded
from promptseg.serve.web.table import Entry

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["PAGE", "application"]

log = logging.getLogger("promptseg.serve")

Handler = Callable[["Request"], Awaitable["Response"]]

PAGE = Path(__file__).parent.parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
}


def application(
    desk: Desk,
    token: str,
    hosts: Iterable[str] = ("127.0.0.1", "localhost", "[::1]"),
    ready: Callable[[], bool] = lambda: True,
    archive: Archive | None = None,
    ohif: Path | None = None,
    users: Users | None = None,
    audit: Audit | None = None,
    **guarding: Any,
) -> Guard:
    """Build the web application that a server runs.

    Args:
        desk: what is served.
        token: that every request needs.
        hosts: names this server goes by.
        ready: whether its models are loaded.
        archive: that OHIF looks at through this server.
        ohif: folder with OHIF's built pages.
        users: how users are named; nobody is, if not given.
        audit: where it is written down what they do.
        guarding: `slowness` and `sleep` of the guard.

    Raises:
        MissingPackageError: starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route, WebSocketRoute
    except ImportError:
        raise MissingPackageError("starlette", "for the server", "serve") from None
    from promptseg.serve.web.sockets import events

    own = Own(desk, audit)
    root = "" if desk.folder is None else str(desk.folder.root)

    def safe(handler: Handler, entry: Entry | None = None, path: str = "") -> Handler:
        path = path if entry is None else entry.path
        return audited(_safe(handler, entry, root), path, audit, desk.folder)

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        yield
        await threaded(desk.stop)

    others = [*Remote(desk).routes, *MonaiLabel(desk, archive).routes]
    routes = [
        *(Route(e.path, safe(e.handler, e), methods=[e.method]) for e in own.entries),
        *(Route(path, safe(do, path=path), methods=[method]) for method, path, do in others),
        WebSocketRoute("/api/sessions/{session}/events", events(desk)),
        WebSocketRoute("/api/videos/{session}/events", events(own.video.videos)),
        Route("/api/health", safe(_healthy(ready)), methods=["GET"]),
        *([] if ohif is None else [Route("/ohif/{name:path}", safe(ohif_pages(ohif)))]),
        Route("/{name:path}", safe(_page), methods=["GET"]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={405: _other_method})
    return Guard(app, token, hosts, ready, users=users, audit=audit, **guarding)


def _healthy(ready: Callable[[], bool]) -> Handler:
    async def health(_: Request) -> Response:
        return json_answer({"ok": True, "ready": ready()})

    return health


async def _other_method(request: Request, _: Exception) -> Response:
    detail = f"expected another method than {request.method} for this; see /api/openapi.json"
    return json_answer({"detail": detail, "kind": "RefusedError"}, 405)


def _safe(handler: Handler, entry: Entry | None, root: str) -> Handler:
    """The handler, whose errors are answers, and whose log names nobody and no file."""

    async def safe(request: Request) -> Response:
        begun = time.perf_counter()
        try:
            answer = await handler(request)
        except Exception as error:
            answer = error_answer(error, root)
        if entry is not None:
            took = (time.perf_counter() - begun) * 1000
            log.debug("%s %s %d %.0f ms", entry.method, entry.path, answer.status_code, took)
        return answer

    return safe


async def _page(request: Request) -> Response:
    """A file of the page; nothing else of this machine."""
    from starlette.responses import FileResponse

    name = request.path_params["name"] or "index.html"
    parts = name.split("/")
    path = PAGE.joinpath(*parts)
    kind = _TYPES.get(path.suffix)
    wrong = any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)
    if wrong or kind is None or not _is_file(path):
        raise AbsentError("a page of this server", repr(name[:100]))
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-cache"})


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that is too long for one cannot be asked for."""
    try:
        return path.is_file()
    except OSError:
        return False
