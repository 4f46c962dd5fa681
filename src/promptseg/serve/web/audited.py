"""Requests that change something, open an image or take it away, as lines of the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from promptseg.serve.audit import Audit
from promptseg.serve.folder import Folder
from promptseg.serve.users import caller

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["audited"]

Handler = Callable[["Request"], Awaitable["Response"]]

_TAKES_AWAY = ("/download", "/datastore/image", "/api/audit", "/results/{name}")  # by GET
_CHANGES_NOTHING = ("/heartbeat", "/preview", "/set_target_buffer", "/set_do_autozoom")


def audited(handler: Handler, path: str, audit: Audit | None, folder: Folder | None) -> Handler:
    """Return a handler whose requests are written down once they have been answered.

    Args:
        handler: of requests, errors answered.
        path: of its route, with names in braces: no value of a request.
        audit: the log; None leaves the handler as it is.
        folder: whose images have names.
    """
    if audit is None or path.endswith(_CHANGES_NOTHING):
        return handler

    async def answer(request: Request) -> Response:
        found = await handler(request)
        if request.method not in ("GET", "HEAD") or path.endswith(_TAKES_AWAY):
            who = caller()
            image = None if who.image is None or folder is None else folder.id_of(who.image)
            audit.write(
                user=who.name or None,
                role=who.role if who.name else None,
                did=f"{request.method} {path}",
                status=found.status_code,
                image=image,
            )
        return found

    return answer
