"""MONAI Label's paths and bodies, as far as its 3D Slicer module and its OHIF panel need them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any

from promptseg.errors import InputError
from promptseg.formats.dicomweb.multipart import boundary_of, parts
from promptseg.serve.archive import Archive
from promptseg.serve.desk import Desk
from promptseg.serve.monai import Answered, Request, Rooms
from promptseg.serve.refusals import AbsentError
from promptseg.serve.web.requests import body_bytes, json_answer, json_of, threaded

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

__all__ = ["MonaiLabel", "parts_of"]

Handler = Callable[["HttpRequest"], Awaitable["Response"]]

_MOST_PARTS = 16


class MonaiLabel:
    """The handlers, on one desk.

    Args:
        desk: what is served.
        archive: that OHIF looks at; None if there is none.
    """

    def __init__(self, desk: Desk, archive: Archive | None = None) -> None:
        self.desk, self.archive, self.rooms = desk, archive, Rooms(desk, archive)

    @property
    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of each route; `/auth/` and `/auth/token` are the guard's."""
        return [
            ("GET", "/auth/token/valid", self.valid),
            ("GET", "/info/", self.info),
            ("PUT", "/session/", self.enter),
            ("GET", "/session/{session}", self.session),
            ("DELETE", "/session/{session}", self.leave),
            ("POST", "/infer/{model}", self.infer),
            ("GET", "/datastore/", self.images),
            ("GET", "/datastore/image", self.image),
            ("PUT", "/datastore/label", self.label),
            ("POST", "/activelearning/{strategy}", self.next_image),
            ("GET", "/train/", self.train),
            ("GET", "/proxy/dicom/{kind}/{resource:path}", self.proxy),
            ("POST", "/proxy/dicom/{kind}/studies", self.store),
            ("POST", "/proxy/dicom/{kind}/studies/{study}", self.store),
        ]

    async def valid(self, request: HttpRequest) -> Response:
        """GET /auth/token/valid: the guard has let it in."""
        return json_answer({"valid": True})

    async def info(self, request: HttpRequest) -> Response:
        """GET /info/."""
        return json_answer(await threaded(self.rooms.info))

    async def enter(self, request: HttpRequest) -> Response:
        """PUT /session/: an image in a form."""
        _, files = await self._form(request)
        if len(files) != 1:
            raise InputError("one image file in the form", f"{len(files)} files")
        (name, content), *_ = files.values()
        return json_answer(await threaded(lambda: self.rooms.enter(name, content)))

    async def session(self, request: HttpRequest) -> Response:
        """GET /session/ID."""
        return json_answer(self.rooms.session(request.path_params["session"]))

    async def leave(self, request: HttpRequest) -> Response:
        """DELETE /session/ID."""
        token = request.path_params["session"]
        return json_answer(await threaded(lambda: self.rooms.leave(token)))

    async def infer(self, request: HttpRequest) -> Response:
        """POST /infer/MODEL: clicks and a box in, a mask out."""
        query = request.query_params
        fields, _ = await self._form(request)
        params = json_of(fields.get("params", "{}").encode())
        if not isinstance(params, dict):
            raise InputError("params to be a JSON object", repr(params)[:100])
        asked = Request.of(request.path_params["model"], params, query.get("output"))
        image, session = query.get("image", ""), query.get("session_id", "")
        client = str(params.get("client_id") or "")[:200]
        answer = await threaded(lambda: self.rooms.infer(asked, image, session, client))
        return _mask(answer, alone=asked.output in ("image", "dicom_seg"))

    async def images(self, request: HttpRequest) -> Response:
        """GET /datastore/."""
        return json_answer(await threaded(self.rooms.images))

    async def image(self, request: HttpRequest) -> Response:
        """GET /datastore/image?image=ID."""
        from starlette.responses import FileResponse

        path = self.rooms.image_file(request.query_params.get("image", ""))
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    async def label(self, request: HttpRequest) -> Response:
        """PUT /datastore/label?image=ID: a mask to be kept beside its image."""
        image = request.query_params.get("image", "")
        fields, files = await self._form(request)
        if "label" not in files:
            raise InputError("a mask file `label` in the form", ", ".join(files) or "no file")
        name, content = files["label"]
        names = _names(json_of(fields.get("params", "{}").encode()))
        return json_answer(
            await threaded(lambda: self.rooms.keep_label(image, name, content, names))
        )

    async def proxy(self, request: HttpRequest) -> Response:
        """GET /proxy/dicom/qido|wado/...: the archive, read through us."""
        from starlette.responses import Response as Plain

        archive, kind = self.archive, request.path_params["kind"]
        if archive is None or kind not in ("qido", "wado"):
            raise AbsentError("an archive", "none", "start the server with --archive")
        resource, query = request.path_params["resource"], dict(request.query_params)
        headers = dict(request.headers)
        answer = await threaded(lambda: archive.get(resource, query, headers))
        return Plain(answer.content, answer.status, media_type=answer.kind)

    async def next_image(self, request: HttpRequest) -> Response:
        """POST /activelearning/STRATEGY."""
        await body_bytes(request, 1 << 20)
        return json_answer(await threaded(self.rooms.next_image))

    async def train(self, request: HttpRequest) -> Response:
        """GET /train/: nothing is trained here."""
        raise AbsentError("a training", "none: promptseg train does that", "see docs/train.md")

    async def _form(
        self, request: HttpRequest
    ) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
        """The fields and files of a request; a body that is no form counts as parameters in JSON."""
        content = await body_bytes(request, self.desk.limits.upload_bytes)
        kind = request.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            return {"params": content.decode("utf-8", "replace") or "{}"}, {}
        return await threaded(lambda: parts_of(content, kind))

    async def store(self, request: HttpRequest) -> Response:
        """POST /proxy/dicom/stow|wado/studies: masks that a viewer stores, and nothing else."""
        between = boundary_of(request.headers.get("content-type", ""))
        if between is None:
            raise InputError("multipart/related", "something else")
        content = await body_bytes(request, self.desk.limits.upload_bytes)

        def do() -> list[str]:
            try:
                files = [b"".join(part) for part in parts([content], between)]
            except (EOFError, ValueError):
                raise InputError("a whole body in parts", "one cut off", "send it again") from None
            return [self.rooms.keep_file(file) for file in files]

        return json_answer({"stored": await threaded(do)})


def _names(params: Any) -> dict[int, str]:
    """Number -> name of objects, of `label_info` as clients send it."""
    listed = params.get("label_info") if isinstance(params, dict) else None
    found = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            number = one.get("idx")
            if type(number) is int:
                found[number] = one["name"][:200]
    return found


def parts_of(content: bytes, kind: str) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
    """Split a form in parts into its fields and files.

    Args:
        content: the body.
        kind: its Content-Type, which names what is between parts.

    Returns:
        Name -> text of fields, and name -> (file name, bytes) of files.

    Raises:
        InputError: no such form.
    """
    boundary = _parameter(f"Content-Type: {kind}", "boundary")
    refusal = InputError("a form in parts", "something else", "send multipart/form-data")
    if not boundary or len(boundary) > 200:
        raise refusal
    between = b"--" + boundary.encode("latin-1", "replace")
    pieces = content.split(between)
    if len(pieces) < 2 or len(pieces) > _MOST_PARTS + 2 or not pieces[-1].startswith(b"--"):
        raise refusal
    fields: dict[str, str] = {}
    files: dict[str, tuple[str, bytes]] = {}
    for piece in pieces[1:-1]:
        head, found, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not found or len(head) > 4096:
            raise refusal
        said = head.decode("utf-8", "replace")
        name, file = (_parameter(said, key, "content-disposition") for key in ("name", "filename"))
        value = body.removesuffix(b"\r\n")
        if file:
            files[name] = file, value
        else:
            fields[name] = value.decode("utf-8", "replace")
    return fields, files


def _parameter(head: str, key: str, field: str = "content-type") -> str:
    found = HeaderParser().parsestr(head).get_param(key, "", field)
    return found if isinstance(found, str) else str(found[2] if found else "")


def _mask(answer: Answered, alone: bool) -> Response:
    """The mask as a file, or in a form with what else is known."""
    from starlette.responses import Response as Plain

    if alone:
        about = {"Content-Disposition": f'attachment; filename="{answer.name}"'}
        return Plain(answer.content, headers=about, media_type="application/octet-stream")
    between = secrets.token_hex(16)
    facts = json.dumps(answer.facts, default=str)
    body = b"".join(
        (
            f'--{between}\r\nContent-Disposition: form-data; name="params"\r\n'.encode(),
            f"Content-Type: application/json\r\n\r\n{facts}\r\n".encode(),
            f'--{between}\r\nContent-Disposition: form-data; name="image"; '.encode(),
            f'filename="{answer.name}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n" + answer.content + b"\r\n",
            f"--{between}--\r\n".encode(),
        )
    )
    return Plain(body, media_type=f"multipart/form-data; boundary={between}")
