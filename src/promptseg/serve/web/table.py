"""The table of routes: what there is, from which the application and its description are made."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptseg._version import __version__
from promptseg.serve.web.bodies import schema

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["Entry", "openapi"]


@dataclass(frozen=True)
class Entry:
    """One route.

    Attributes:
        method: GET, POST, PUT or DELETE.
        path: with names in braces.
        does: what it does, in a line.
        handler: answers it.
        body: dataclass of its JSON body; None where it has none, "binary" where it is bytes.
        query: names of its query parameters, and what they are.
        gives: what is answered, in words.
        binary: whether that is bytes.
    """

    method: str
    path: str
    does: str
    handler: Callable[[Request], Awaitable[Response]]
    body: Any = None
    query: tuple[tuple[str, str], ...] = ()
    gives: str = "a JSON object"
    binary: bool = False

    @property
    def name(self) -> str:
        """Return its operationId."""
        words = re.sub(r"[^a-z0-9]+", "_", self.path.removeprefix("/api").lower()).strip("_")
        return f"{self.method.lower()}_{words}"


_ERROR = {
    "description": "refused; `detail` says in one line what was expected and what to do",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"detail": {"type": "string"}, "kind": {"type": "string"}},
                "required": ["detail"],
            }
        }
    },
}


def openapi(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the table as an OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)", entry.path)
        ] + [
            {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
            for name, text in entry.query
        ]
        kind = "application/octet-stream" if entry.binary else "application/json"
        operation: dict[str, Any] = {
            "operationId": entry.name,
            "summary": entry.does,
            "parameters": parameters,
            "responses": {
                "200": {
                    "description": entry.gives,
                    "content": {kind: {"schema": {} if entry.binary else {"type": "object"}}},
                },
                "default": _ERROR,
            },
        }
        if entry.body is not None:
            binary = entry.body == "binary"
            media = "application/octet-stream" if binary else "application/json"
            content = {"schema": {} if binary else schema(entry.body)}
            operation["requestBody"] = {"content": {media: content}, "required": True}
        paths.setdefault(entry.path, {})[entry.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "promptseg serve", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }
