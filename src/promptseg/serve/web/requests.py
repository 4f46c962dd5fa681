"""Helpers of every handler: bodies within limits, work on threads, errors as answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from promptseg.errors import InputError, PromptsegError
from promptseg.parsing import parse_json
from promptseg.serve.refusals import (
    RefusedError,
    TooLargeError,
    fault_or_message,
    without_root,
)
from promptseg.serve.web.bodies import parsed

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = [
    "body_bytes",
    "body_of",
    "error_answer",
    "json_answer",
    "let_pass",
    "number_of",
    "threaded",
]

log = logging.getLogger("promptseg.serve")

T = TypeVar("T")

_LONGEST_JSON = 64 << 20  # a mask prompt of a large slice is a long text
_THREADS = 64
_PATIENCE = 5.0  # seconds for which the rest of a refused body is taken


async def body_bytes(request: Request, limit: int) -> bytes:
    """Read the body, no further than a limit.

    Raises:
        TooLargeError: it is larger.
    """
    refusal = TooLargeError(
        f"a body of at most {limit:,} bytes", "a larger one", "send less at a time"
    )
    said = request.headers.get("content-length", "")
    chunks: list[bytes] = []
    if said.isdecimal() and int(said) > limit:
        await let_pass(request)
        raise refusal
    size, stream = 0, request.stream()
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            await _take_the_rest(stream)
            raise refusal
        chunks.append(chunk)
    return b"".join(chunks)


async def let_pass(request: Request) -> None:
    """Take the body of a request that is refused unread, unless the client waits to be asked for it."""
    if "expect" not in request.headers:
        await _take_the_rest(request.stream())


async def _take_the_rest(stream: AsyncIterator[bytes]) -> None:
    """Read on and keep nothing: a client that cannot send all it has never hears why it is refused."""
    from starlette.requests import ClientDisconnect

    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_PATIENCE):
            async for _ in stream:
                pass


async def body_of(request: Request, kind: type[T]) -> T:
    """Read the JSON body into a dataclass; an empty body counts as an empty object.

    Raises:
        InputError: no JSON, or other fields.
    """
    return parsed(kind, json_of(await body_bytes(request, _LONGEST_JSON)))


def json_of(content: bytes) -> Any:
    """Parse JSON; nothing counts as an empty object.

    Raises:
        InputError: no JSON.
    """
    if not content.strip():
        return {}
    try:
        return parse_json(content)
    except (ValueError, RecursionError) as error:
        raise InputError("a body in JSON", str(error).splitlines()[0][:160]) from None


def number_of(request: Request, name: str, default: int | None = None) -> int | None:
    """Return a whole number from the query; the default where it is absent.

    Raises:
        InputError: something else.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.removeprefix("-").isdecimal() or len(text) > 15:
        raise InputError(f"{name} to be a whole number", repr(text[:40]))
    return int(text)


async def threaded(do: Callable[[], T]) -> T:
    """Do something on a thread of its own, so that others are answered meanwhile."""
    from anyio.to_thread import run_sync

    return await run_sync(do, limiter=_limiter())


def json_answer(content: Any, status: int = 200, **headers: str) -> Response:
    """Return a response in JSON; NaN is refused."""
    from starlette.responses import Response as Answer

    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Answer(text, status, headers, media_type="application/json")


def error_answer(error: Exception, root: str = "") -> Response:
    """Return the response that tells of an error.

    Args:
        error: what happened.
        root: the folder that is served, whose place on this machine is nobody's business.
    """
    status, headers = 500, {}
    if isinstance(error, RefusedError):
        status = error.status
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, PromptsegError):
        status = 400
    else:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name}" if trace else "?"
        log.error("fault: %s at %s", type(error).__name__, where)
    detail = without_root(fault_or_message(error), root)
    content = {"detail": detail, "kind": type(error).__name__}
    return json_answer(content, status, **headers)


_LIMITERS: dict[str, Any] = {}


def _limiter() -> Any:
    """Threads at a time; made in the loop that is running."""
    from anyio import CapacityLimiter

    loop = asyncio.get_running_loop()
    known = _LIMITERS.get("limiter")
    if known is None or known[0] is not loop:
        _LIMITERS["limiter"] = known = (loop, CapacityLimiter(_THREADS))
    return known[1]
