"""nnInteractive's remote protocol 2.x: its paths and bodies, for its clients as they are."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError
from promptseg.serve.desk import Desk
from promptseg.serve.packing import pack, unpack
from promptseg.serve.refusals import EndedError, FullError
from promptseg.serve.remote import BUDGET_S, Answer, RemoteClient, capabilities
from promptseg.serve.users import caller
from promptseg.serve.web.requests import body_bytes, json_answer, json_of, threaded

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["Remote"]

_LEASE = "x-lease-token"
_LONGEST_JSON = 1 << 20

Handler = Callable[["Request"], Awaitable["Response"]]


class Remote:
    """The handlers, on one desk.

    Args:
        desk: what is served.
        budget: seconds an answer waits for the other slices; clients give up after 60.
    """

    def __init__(self, desk: Desk, budget: float = BUDGET_S) -> None:
        self.desk, self.budget = desk, budget
        self._clients: OrderedDict[str, RemoteClient] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each route."""
        prompts: dict[str, Callable[[RemoteClient, dict[str, Any]], Answer]] = {
            "/add_point_interaction": lambda c, b: c.point(b.get("coordinates"), *_flags(b)),
            "/add_bbox_interaction": lambda c, b: c.box(b.get("bbox_coords"), *_flags(b)),
            "/predict": lambda c, b: c.predict(),
            "/undo": lambda c, b: c.undo(),
        }
        masks: dict[str, Callable[[RemoteClient, dict[str, Any], Any], Answer]] = {
            "/add_scribble_interaction": lambda c, m, a: c.scribble(
                a, m.get("interaction_bbox"), *_flags(m)
            ),
            "/add_lasso_interaction": lambda c, m, a: c.lasso(
                a, m.get("interaction_bbox"), *_flags(m)
            ),
            "/add_initial_seg_interaction": lambda c, m, a: c.initial(
                a, _switch(m, "run_prediction", False)
            ),
        }
        return [
            ("GET", "/healthz", self.health),
            ("GET", "/capabilities", self.capabilities),
            ("POST", "/claim", self.claim),
            ("POST", "/release", self.release),
            ("POST", "/heartbeat", self.heartbeat),
            ("GET", "/lease_status", self.status),
            ("POST", "/set_image", self.set_image),
            ("POST", "/set_target_buffer", self.set_target),
            ("POST", "/set_do_autozoom", self.nothing),
            ("POST", "/reset_interactions", self.reset),
            *(("POST", path, self._json(do)) for path, do in prompts.items()),
            *(("POST", path, self._packed(do)) for path, do in masks.items()),
        ]

    async def health(self, request: Request) -> Response:
        """GET /healthz."""
        return json_answer({"ok": True})

    async def capabilities(self, request: Request) -> Response:
        """GET /capabilities."""
        return json_answer(capabilities(self.desk))

    async def claim(self, request: Request) -> Response:
        """POST /claim."""
        limits = self.desk.limits
        with self._lock:
            self._sweep()
            if len(self._clients) >= limits.sessions:
                raise FullError(f"at most {limits.sessions} clients", "one more", "try again later")
            lease = self.desk.lease()
            self._clients[lease.token] = RemoteClient(self.desk, lease, self.budget)
        content = {
            "lease_token": lease.token,
            "idle_timeout_seconds": limits.idle_s,
            "liveness_timeout_seconds": limits.liveness_s,
            "max_sessions": limits.sessions,
        }
        return json_answer(content)

    async def release(self, request: Request) -> Response:
        """POST /release."""
        client = self._client(request)
        with self._lock:
            self._clients.pop(client.lease.token, None)
        await threaded(client.close)
        return json_answer({"released": True})

    async def heartbeat(self, request: Request) -> Response:
        """POST /heartbeat: a sign of life, no action."""
        client = self._client(request, act=False)
        client.touch()
        return json_answer({"remaining_seconds": client.lease.remaining})

    async def status(self, request: Request) -> Response:
        """GET /lease_status: not even a sign of life."""
        client = self._client(request, act=False)
        content = {
            "remaining_seconds": client.lease.remaining,
            "idle_timeout_seconds": self.desk.limits.idle_s,
        }
        return json_answer(content)

    async def set_image(self, request: Request) -> Response:
        """POST /set_image."""
        client, meta = self._client(request), _meta(request)
        limits = self.desk.limits
        content = await body_bytes(request, limits.upload_bytes)
        properties = meta.get("image_properties") or {}
        if not isinstance(properties, dict):
            raise InputError("image_properties to be a JSON object", repr(properties)[:100])

        def do() -> tuple[int, ...]:
            array = unpack(content, limits.session_bytes)
            return client.set_image(array, properties.get("spacing"))

        return json_answer({"original_image_shape": list(await threaded(do))})

    async def set_target(self, request: Request) -> Response:
        """POST /set_target_buffer."""
        client, body = self._client(request), await _body(request)
        client.set_target(body.get("shape"), body.get("dtype"))
        return json_answer({})

    async def nothing(self, request: Request) -> Response:
        """POST /set_do_autozoom: our models see whole slices."""
        self._client(request)
        await _body(request)
        return json_answer({})

    async def reset(self, request: Request) -> Response:
        """POST /reset_interactions."""
        client = self._client(request)
        await _body(request)
        await threaded(client.reset)
        return json_answer({})

    def _json(self, do: Callable[[RemoteClient, dict[str, Any]], Answer]) -> Handler:
        async def handle(request: Request) -> Response:
            client, body = self._client(request), await _body(request)
            return _prediction(await threaded(lambda: do(client, body)))

        return handle

    def _packed(self, do: Callable[[RemoteClient, dict[str, Any], Any], Answer]) -> Handler:
        async def handle(request: Request) -> Response:
            client, meta = self._client(request), _meta(request)
            limits = self.desk.limits
            content = await body_bytes(request, limits.upload_bytes)
            return _prediction(
                await threaded(lambda: do(client, meta, unpack(content, limits.session_bytes)))
            )

        return handle

    def _client(self, request: Request, act: bool = True) -> RemoteClient:
        """Whose lease a request carries.

        Raises:
            EndedError: there is none, or none any more.
        """
        self.desk.sweep()
        with self._lock:
            self._sweep()
            client = self._clients.get(request.headers.get(_LEASE, ""))
        if client is None or client.owner != caller().name:
            raise EndedError(
                "a lease that is running", "none or one that has ended", "connect again"
            )
        if act:
            client.act()
        return client

    def _sweep(self) -> None:
        """End what nobody has been heard of for too long; with the lock held."""
        for token, client in list(self._clients.items()):
            if client.lease.ended:
                del self._clients[token]
                client.close()


def _prediction(answer: Answer) -> Response:
    """The changed box, and where it lies."""
    from starlette.responses import Response as Plain

    ran, difference = answer
    bbox = None if difference is None else [[r.start, r.stop] for r in difference[0]]
    body = b"" if difference is None else pack(difference[1].view("uint8"))
    headers = {"X-Meta": json.dumps({"ran_prediction": ran, "bbox": bbox})}
    return Plain(body, 200, headers, media_type="application/octet-stream")


async def _body(request: Request) -> dict[str, Any]:
    return _object(json_of(await body_bytes(request, _LONGEST_JSON)))


def _meta(request: Request) -> dict[str, Any]:
    return _object(json_of(request.headers.get("x-meta", "").encode("latin-1", "replace")))


def _object(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError("a JSON object", type(content).__name__)
    return content


def _flags(content: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the object is meant, and whether to answer now."""
    return _switch(content, "include_interaction", True), _switch(content, "run_prediction", True)


def _switch(content: dict[str, Any], name: str, default: bool) -> bool:
    value = content.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{name} to be true or false", repr(value)[:60])
    return value
