"""Our own interface: the folder's images, the state of the work on them, and the demonstration CT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError
from promptseg.serve.demo import demo_image
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.users import caller
from promptseg.serve.web.bodies import Nothing, Progress
from promptseg.serve.web.requests import body_of, json_answer, threaded
from promptseg.serve.web.table import Entry

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["OwnFolder"]


class OwnFolder:
    """The handlers, on the folder of one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.entries = [
            Entry(
                "GET",
                "/api/images",
                "what a folder holds",
                self.images,
                query=(("folder", "below the folder that is served; itself if not given"),),
            ),
            Entry("PUT", "/api/images", "state and note of an image", self.progress, Progress),
            Entry(
                "POST", "/api/demo", "put the demonstration CT into the folder", self.demo, Nothing
            ),
        ]

    def _folder(self) -> Folder:
        if self.desk.folder is None:
            raise InputError("a server with a folder", "none", "start it with --root FOLDER")
        return self.desk.folder

    async def images(self, request: Request) -> Response:
        """GET /api/images."""
        name = request.query_params.get("folder", "")
        folder = self.desk.folder
        if folder is None:
            return json_answer({"folder": "", "entries": []})
        entries = await threaded(lambda: folder.listing(name))
        open_now = {work.path for work in self.desk.all_works if work.owner == caller().name}
        for entry in entries:
            entry["open"] = entry["path"] in open_now
        return json_answer({"folder": name.strip("/"), "entries": entries})

    async def progress(self, request: Request) -> Response:
        """PUT /api/images."""
        asked, folder = await body_of(request, Progress), self._folder()
        caller().image = asked.path
        changes = {k: v for k in ("state", "note") if (v := getattr(asked, k)) is not None}

        def do() -> dict[str, Any]:
            name = folder.name_of(folder.image(asked.path))
            known = folder.remember(name, **changes) if changes else folder.remembered(name)
            return {"path": name, "state": known.state, "note": known.note}

        return json_answer(await threaded(do))

    async def demo(self, request: Request) -> Response:
        """POST /api/demo."""
        await body_of(request, Nothing)
        folder = self._folder()
        return json_answer({"path": await threaded(lambda: demo_image(folder))})
