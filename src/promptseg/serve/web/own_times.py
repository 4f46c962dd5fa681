"""Our own interface: annotation times, which are logged on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError
from promptseg.serve.desk import Desk
from promptseg.serve.web.bodies import Timing
from promptseg.serve.web.requests import body_of, json_answer, threaded
from promptseg.serve.web.table import Entry

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["OwnTimes"]

_LONGEST_NAME = 200


class OwnTimes:
    """The handler, on the sessions of one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        path = "/api/sessions/{session}/times"
        does = "log annotation times for a study"
        self.entries = [Entry("POST", path, does, self.timing, Timing)]

    async def timing(self, request: Request) -> Response:
        """POST /api/sessions/{session}/times."""
        work = self.desk.get(request.path_params["session"])
        asked = await body_of(request, Timing)

        def do() -> dict[str, Any]:
            times = work.times
            if asked.do != "start":
                getattr(times, asked.do)()
                return {"times": times.facts}
            if asked.phase is None or asked.expert is None:
                raise InputError("expert and phase to start", "not both")
            for name in (asked.expert, asked.case or ""):
                if len(name) > _LONGEST_NAME:
                    raise InputError(f"names of at most {_LONGEST_NAME} characters", "a longer one")
            times.start(asked.expert.strip(), asked.phase, asked.case, end_open=asked.end_open)
            return {"times": times.facts}

        return json_answer(await threaded(do))
