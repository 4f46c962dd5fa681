"""Events of a session over a WebSocket; what the client looks at comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from promptseg.errors import PromptsegError
from promptseg.geometry import AXES
from promptseg.serve.lease import Lease
from promptseg.serve.work import Event

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

__all__ = ["events"]

_WAITING = 256  # events a slow client may be behind
_LONGEST = 1000


class Watched(Protocol):
    """A session whose events are told."""

    lease: Lease
    focus: Any

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have everything told; returns what ends that."""


class Sessions(Protocol):
    """Sessions of one kind by their names."""

    def get(self, token: str, act: bool = True) -> Watched:
        """Return a session by its name."""


def events(desk: Sessions) -> Any:
    """Return the handler of `/api/sessions/{session}/events`, or of those of videos."""

    async def handle(socket: WebSocket) -> None:
        try:
            work = desk.get(socket.path_params["session"], act=False)
        except PromptsegError as error:
            await socket.close(4404, str(error)[:120])
            return
        await socket.accept()
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Event] = asyncio.Queue(_WAITING)

        def put(event: Event) -> None:
            if queue.full():  # the client asks for changes since the revision it has
                queue.get_nowait()
            queue.put_nowait(event)

        def listener(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(put, event)

        leave = work.listen(listener)
        work.lease.connect(1)
        try:
            sending = asyncio.create_task(_send(socket, queue))
            receiving = asyncio.create_task(_receive(socket, work))
            tasks = {sending, receiving}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            leave()
            work.lease.connect(-1)
            with contextlib.suppress(Exception):
                await socket.close()

    return handle


async def _send(socket: WebSocket, queue: asyncio.Queue[Event]) -> None:
    while True:
        event = await queue.get()
        await socket.send_text(json.dumps(event, allow_nan=False))
        if event["type"] == "closed":
            return


async def _receive(socket: WebSocket, work: Watched) -> None:
    """`{"type": "look", "axis", "slice"}` and `{"type": "ping"}`; anything else is left alone."""
    from starlette.websockets import WebSocketDisconnect

    with contextlib.suppress(WebSocketDisconnect):
        while True:
            text = await socket.receive_text()
            if len(text) > _LONGEST:
                continue
            try:
                said = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if not isinstance(said, dict):
                continue
            axis, index = said.get("axis"), said.get("slice")
            if said.get("type") == "look" and axis in AXES and type(index) is int:
                work.lease.act()
                work.focus = (axis, index)
            elif said.get("type") == "ping":
                work.lease.touch()
