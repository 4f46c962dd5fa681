"""Requests and answers: HTTP with a token, JSON or bytes, errors as one line."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Dict, Mapping, NamedTuple, Optional, Union

__all__ = ["Answer", "Connection", "ServerError", "SessionEndedError"]


class ServerError(Exception):
    """A request that was refused, or a server that cannot be reached.

    Attributes:
        status: of the HTTP answer; 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class SessionEndedError(ServerError):
    """The session is over; open the image again, nothing is lost."""


class Answer(NamedTuple):
    """Headers, in small letters, and body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection:
    """A server and its token.

    Args:
        address: as the server printed it, with `?token=`, or without and `token` beside.
        token: what every request needs.
        timeout: seconds until a request is given up.
    """

    def __init__(self, address: str, token: Optional[str] = None, timeout: float = 120.0) -> None:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ServerError(f"expected an address http://HOST:PORT/?token=..., got {address!r}")
        given = urllib.parse.parse_qs(parts.query).get("token", [""])[0]
        self.base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.timeout = timeout
        self._headers = {"Authorization": f"Bearer {token or given}"}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(
        self,
        method: str,
        path: str,
        body: Union[bytes, Dict[str, Any], None] = None,
        query: Optional[Mapping[str, Any]] = None,
        meta: Optional[Mapping[str, Any]] = None,
    ) -> Answer:
        """One request.

        Args:
            method: GET, POST, PUT or DELETE.
            path: from /api on.
            body: bytes, or fields of JSON.
            query: parameters; those that are None are left out.
            meta: facts of bytes, for the header X-Meta.

        Raises:
            ServerError: it was refused, or the server cannot be reached.
        """
        url = self.base + path
        if query:
            known = {k: v for k, v in query.items() if v is not None}
            url += "?" + urllib.parse.urlencode(known)
        headers = dict(self._headers)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        if data is not None:
            kind = "application/json" if isinstance(body, dict) else "application/octet-stream"
            headers["Content-Type"] = kind
        if meta is not None:
            headers["X-Meta"] = json.dumps(meta)
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                found = {k.lower(): v for k, v in answer.headers.items()}
                return Answer(found, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                detail = _detail(error.read()) or f"the server answered {error.code}"
            kind_of_error = SessionEndedError if error.code == 410 else ServerError
            raise kind_of_error(detail, error.code) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ServerError(f"expected a server at {self.base}, got {reason}") from None


def _detail(body: bytes) -> str:
    try:
        content = json.loads(body)
    except ValueError:
        return ""
    found = content.get("detail") if isinstance(content, dict) else None
    return found if isinstance(found, str) else ""
