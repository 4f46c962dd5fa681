"""Our own interface for admins: who has what open, and the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError
from promptseg.serve.audit import Audit
from promptseg.serve.desk import Desk
from promptseg.serve.refusals import AbsentError
from promptseg.serve.users import require_admin
from promptseg.serve.web.requests import json_answer, number_of, threaded
from promptseg.serve.web.table import Entry

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["OwnUsers"]

_MOST_LINES = 10_000


class OwnUsers:
    """The handlers, on the sessions of one desk and the server's audit log."""

    def __init__(self, desk: Desk, audit: Audit | None) -> None:
        self.desk, self.audit = desk, audit
        lines = (("count", "newest lines; 100 if not given"),)
        self.entries = [
            Entry("GET", "/api/users", "admins: sessions by user", self.users),
            Entry("DELETE", "/api/users/{user}", "admins: end a user's sessions", self.end),
            Entry("GET", "/api/audit", "admins: the newest lines", self.lines, query=lines),
        ]

    async def users(self, request: Request) -> Response:
        """GET /api/users."""
        require_admin()
        found: dict[str, list[dict[str, Any]]] = {}
        for work in self.desk.all_works:
            facts = {"path": work.path, "remaining_s": round(work.lease.remaining)}
            found.setdefault(work.owner, []).append(facts)
        users = [{"user": name, "sessions": sessions} for name, sessions in sorted(found.items())]
        return json_answer({"users": users})

    async def end(self, request: Request) -> Response:
        """DELETE /api/users/{user}."""
        require_admin()
        name = request.path_params["user"]
        ended = await threaded(lambda: self.desk.end_of(name))
        return json_answer({"ended": ended})

    async def lines(self, request: Request) -> Response:
        """GET /api/audit."""
        require_admin()
        if self.audit is None:
            raise AbsentError("an audit log", "none", "start the server with --audit FILE")
        audit, count = self.audit, number_of(request, "count", 100) or 0
        if not 1 <= count <= _MOST_LINES:
            raise InputError(f"count from 1 to {_MOST_LINES}", str(count))
        return json_answer({"lines": await threaded(lambda: audit.last(count))})
