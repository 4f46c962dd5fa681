"""Guard of the server: Host, Origin and token, looked at before all else; headers on every answer."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from promptseg.serve.audit import Audit
from promptseg.serve.lease import Clock
from promptseg.serve.refusals import RefusedError
from promptseg.serve.users import Caller, Users, calling

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["COOKIE", "Guard", "Slowness"]

COOKIE = "promptseg"
_OPEN = ("/healthz", "/api/health")
_LOGIN, _TOKEN = "/auth/", "/auth/token"  # as MONAI Label's clients ask for it
_LONGEST_LOGIN = 4096
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self'; font-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Slowness:
    """The wait before an answer to a wrong token: twice as long with each, up to some seconds.

    Args:
        clock: the time; a minute without any wrong token makes good again.
    """

    def __init__(
        self, clock: Clock = time.monotonic, first: float = 0.1, most: float = 5.0
    ) -> None:
        self._clock, self._first, self._most = clock, first, most
        self._wrong, self._last = 0, clock()

    def next_delay(self) -> float:
        """Return the seconds that the answer to one more wrong token waits."""
        now = self._clock()
        if now - self._last > 60:
            self._wrong = 0
        self._last = now
        self._wrong += 1
        return float(min(self._first * 2 ** min(self._wrong - 1, 16), self._most))


class Guard:
    """Wraps an application.

    Args:
        app: what is guarded.
        token: that every request needs; compared in constant time.
        hosts: names that a Host header may have, with or without a port.
        ready: whether models are loaded; until then 503 is answered.
        slowness: for wrong tokens.
        sleep: waits.
        users: how users are named; nobody is, if not given.
        audit: where refused requests are written down.

    Attributes:
        cookie: the value of the page's cookie, which stands for the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        hosts: Iterable[str],
        ready: Callable[[], bool] = lambda: True,
        slowness: Slowness | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        users: Users | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.app, self.token = app, token
        self.hosts = frozenset(host.lower() for host in hosts)
        self.ready, self.slowness, self.sleep = ready, slowness or Slowness(), sleep
        self.users, self.audit = users or Users(), audit
        self.cookie = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        dressed = _dressed(send)
        host = headers.get("host", "")
        if _name_of(host) not in self.hosts:
            detail = (
                "expected a Host that this server has; start it with --name HOST for another one"
            )
            await _refuse(scope, dressed, 403, detail)
            return
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (
            f"http://{host}".lower(),
            f"https://{host}".lower(),
        ):
            await _refuse(scope, dressed, 403, "expected a request of this server's own page")
            return
        path = scope["path"]
        if path in _OPEN:
            await self.app(scope, receive, dressed)
            return
        address = (scope.get("client") or (None,))[0]
        try:
            who = self.users.named(scope["headers"], address)
        except RefusedError as error:
            await self._deny(scope, dressed, error, None, address)
            return
        if path == "/" and scope["type"] == "http" and await self._enter(scope, dressed):
            return
        if scope["type"] == "http" and (scope["method"], path) == ("GET", _LOGIN):
            await _answer(scope, dressed, 200, {"enabled": True, "token_uri": _TOKEN})
            return
        if scope["type"] == "http" and (scope["method"], path) == ("POST", _TOKEN):
            await self._login(scope, receive, dressed)
            return
        by_cookie = self._by_cookie(headers)
        if not by_cookie and not self._by_token(headers):
            await self.sleep(self.slowness.next_delay())
            self._note(who, "wrong token", 401, address)
            text = "expected the token of this server; open the address that it printed"
            await _refuse(scope, dressed, 401, text)
            return
        writes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if by_cookie and writes and origin is None:
            await _refuse(scope, dressed, 403, "expected a request of this server's own page")
            return
        if not self.ready():
            await _refuse(scope, dressed, 503, "expected a model; it is still loading", retry=True)
            return
        try:
            self.users.require(who, scope.get("method", "GET"), path)
        except RefusedError as error:
            await self._deny(scope, dressed, error, who, address)
            return
        calling(who)
        await self.app(scope, receive, dressed)

    async def _deny(
        self,
        scope: Scope,
        send: Send,
        error: RefusedError,
        who: Caller | None,
        address: str | None,
    ) -> None:
        self._note(who, f"refused: {error.expected}", error.status, address)
        await _refuse(scope, send, error.status, str(error))

    def _note(self, who: Caller | None, did: str, status: int, address: str | None) -> None:
        """A refused request in the audit log; of a path nothing, as it may name somebody."""
        if self.audit is not None:
            name, role = (who.name or None, who.role) if who and who.name else (None, None)
            self.audit.write(user=name, role=role, did=did, status=status, address=address)

    async def _enter(self, scope: Scope, send: Send) -> bool:
        """`/?token=...`: a right one becomes a cookie, and leaves the address bar."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if not given:
            return False
        if not _same(given[0], self.token):
            await self.sleep(self.slowness.next_delay())
            await _refuse(scope, send, 401, "expected the token of this server")
            return True
        cookie = f"{COOKIE}={self.cookie}; HttpOnly; SameSite=Strict; Path=/"
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        headers = [(b"location", b"/"), (b"set-cookie", (cookie + secure).encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A form with the token as password, whoever the user says to be, is answered by the token."""
        body = b""
        while len(body) <= _LONGEST_LOGIN:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        given = parse_qs(body[:_LONGEST_LOGIN].decode("latin-1")).get("password", [""])[0]
        if not _same(given, self.token):
            await self.sleep(self.slowness.next_delay())
            await _refuse(scope, send, 401, "expected the token of this server as password")
            return
        await _answer(scope, send, 200, {"access_token": self.token, "token_type": "Bearer"})

    def _by_token(self, headers: dict[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and _same(given.strip(), self.token)

    def _by_cookie(self, headers: dict[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return found is not None and _same(found.value, self.cookie)


def _same(given: str, right: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


def _name_of(host: str) -> str:
    """A Host header without its port."""
    host = host.lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _dressed(send: Send) -> Send:
    """Adds our headers to every answer."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            more = [(n, v) for n, v in _HEADERS if n not in known]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return wrapped


async def _answer(scope: Scope, send: Send, status: int, content: dict[str, Any]) -> None:
    from promptseg.serve.web.requests import json_answer

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await json_answer(content, status)(scope, nothing, send)


async def _refuse(scope: Scope, send: Send, status: int, detail: str, retry: bool = False) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000 + status, "reason": detail})
        return
    from promptseg.serve.web.requests import json_answer

    answer = json_answer({"detail": detail, "kind": "RefusedError"}, status)
    if retry:
        answer.headers["Retry-After"] = "5"

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await answer(scope, nothing, send)
