"""Connections to DICOMweb servers: credentials, time limits, and one error for each failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from promptseg.errors import InputError, PromptsegError
from promptseg.formats.dicomweb.address import Address
from promptseg.parsing import parse_json

if TYPE_CHECKING:
    import requests

__all__ = ["USER_AGENT", "Connection", "RefusedError"]

USER_AGENT = "promptseg"
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0  # between two pieces of an answer
_BLOCK = 1 << 18
_LARGEST_JSON = 1 << 26


class RefusedError(PromptsegError):
    """The server answered with an error status; `status` is its HTTP code."""

    status: int = 0


class Connection:
    """A session with one server; to be closed, or used in `with`.

    Credentials come from the environment alone: PROMPTSEG_DICOMWEB_USER and _PASSWORD, or
    PROMPTSEG_DICOMWEB_TOKEN for a bearer header. They go to the named server only: redirects are
    never followed, and what `.netrc` says is ignored.

    Args:
        address: the server.

    Raises:
        InputError: `requests` is not installed, or credentials that cannot be sent.
    """

    def __init__(self, address: Address) -> None:
        try:
            import requests
        except ImportError:
            raise InputError(
                "the package requests for DICOMweb", "none", "pip install 'promptseg[dicomweb]'"
            ) from None
        self.address = address
        self._credentials = _credentials()
        self._session = requests.Session()
        self._session.auth = self._authorise
        self._session.headers["User-Agent"] = USER_AGENT

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def json(self, path: str, query: dict[str, str] | None = None) -> Any:
        """Return the server's answer in DICOM JSON for `path` below its root; None if it is empty.

        Raises:
            PromptsegError: no answer, refused, or no JSON.
        """
        headers = {"Accept": "application/dicom+json"}
        with self.get(path, headers, query) as answer:
            if answer.status_code == 204:
                return None
            content = bytearray()
            for chunk in self.content(answer):
                content += chunk
                if len(content) > _LARGEST_JSON:
                    raise self._error("a list of at most 64 MiB", "a longer one")
        return self.parsed(answer, bytes(content))

    def parsed(self, answer: requests.Response, content: bytes) -> Any:
        """Parse the content of an answer as JSON.

        Raises:
            InputError: it is none.
        """
        try:
            return parse_json(content)
        except ValueError:
            kind = answer.headers.get("Content-Type", "no type")
            raise self._error("an answer in DICOM JSON", f"{kind}", _NOT_DICOMWEB) from None

    @contextmanager
    def get(
        self, path: str, headers: dict[str, str], query: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Provide the answer to a GET, its content not read yet.

        Raises:
            RefusedError: an error status.
            InputError: no answer.
        """
        with self._request("GET", path, headers=headers, params=query) as answer:
            self._check(answer, path)
            yield answer

    @contextmanager
    def relay(
        self, path: str, headers: dict[str, str], query: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Provide the answer to a GET as it is, error statuses too, to be passed on.

        Raises:
            InputError: no answer.
        """
        with self._request("GET", path, headers=headers, params=query) as answer:
            yield answer

    @contextmanager
    def post(self, path: str, headers: dict[str, str], body: bytes) -> Iterator[requests.Response]:
        """Provide the answer to a POST; a conflict (409) is left to the caller, as its content says
        why.

        Raises:
            RefusedError: another error status.
            InputError: no answer.
        """
        with self._request("POST", path, headers=headers, data=body) as answer:
            if answer.status_code != 409:
                self._check(answer, path)
            yield answer

    def content(self, answer: requests.Response) -> Iterator[bytes]:
        """Yield the content of an answer, piece by piece, as it arrives.

        Raises:
            InputError: it stops too early.
        """
        from requests.exceptions import RequestException

        try:
            yield from answer.iter_content(_BLOCK)
        except RequestException as error:
            raise self._error(
                "a complete answer", f"one cut off ({_reason(error)})", "try again"
            ) from None

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        from requests import exceptions

        if self.address.loopback:
            arguments["proxies"] = {"no_proxy": "*"}
        try:
            return self._session.request(
                method,
                self.address.root + path,
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
                **arguments,
            )
        except exceptions.SSLError as error:
            raise self._error(
                "a server whose TLS certificate can be verified",
                _reason(error),
                "name the hospital's certificates in REQUESTS_CA_BUNDLE, or write "
                "dicomweb+http:// if the server has no TLS",
            ) from None
        except exceptions.ConnectTimeout:
            raise self._error(
                "a DICOMweb server", f"no connection within {_CONNECT_SECONDS:g} s", _UNREACHABLE
            ) from None
        except exceptions.ReadTimeout:
            raise self._error(
                "an answer", f"none within {_ANSWER_SECONDS:g} s", "try again later"
            ) from None
        except (exceptions.RequestException, ValueError) as error:  # of the latter: no host name
            raise self._error("a DICOMweb server", _reason(error), _UNREACHABLE) from None

    def _check(self, answer: requests.Response, path: str) -> None:
        status = answer.status_code
        if status < 300:
            return
        expected, got, do = "an answer", f"HTTP {status}", "see the server's log"
        if status < 400:
            expected, do = "an answer at the address itself", "name that address"
            got = f"a redirect to {_without_query(answer.headers.get('Location', '?'))}"
        elif status == 401:
            expected = "to be let in"
            got = "HTTP 401, " + ("these credentials" if self._credentials else "no credentials")
            do = (
                "correct what is in PROMPTSEG_DICOMWEB_USER and PROMPTSEG_DICOMWEB_PASSWORD, or in "
                "PROMPTSEG_DICOMWEB_TOKEN"
            )
        elif status == 403:
            expected, do = "to be allowed this", "ask who runs the server"
            got = "HTTP 403, forbidden"
        elif status == 404:
            expected, do = f"{path.partition('?')[0]} on the server", _NOT_DICOMWEB
            got = "HTTP 404, no such thing"
        error = RefusedError(f"{expected} ({self.address.text})", got, do)
        error.status = status
        raise error

    def _error(self, expected: str, got: str, do: str = "") -> InputError:
        return InputError(f"{expected} ({self.address.text})", got, do)

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._credentials:
            request.headers["Authorization"] = self._credentials
        return request


_UNREACHABLE = "check host, port and network"
_NOT_DICOMWEB = "check the path: Orthanc's is /dicom-web, others have /dcm4chee-arc/aets/.../rs"


def _credentials() -> str | None:
    """The value of the Authorization header.

    Raises:
        InputError: half of it, both kinds, or characters that a header cannot hold.
    """
    import base64

    named = {k: os.environ.get(f"PROMPTSEG_DICOMWEB_{k}") for k in ("USER", "PASSWORD", "TOKEN")}
    user, password, token = named.values()
    if token and (user or password):
        raise InputError(
            "a token or a user with password for DICOMweb", "both in the environment", "unset one"
        )
    if bool(user) != bool(password):
        raise InputError(
            "PROMPTSEG_DICOMWEB_USER and PROMPTSEG_DICOMWEB_PASSWORD", "only one of them"
        )
    if token:
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise InputError(
                "a token of letters, digits and signs in PROMPTSEG_DICOMWEB_TOKEN",
                "spaces, line ends or other characters",
            )
        return f"Bearer {token}"
    if user:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return None


def _reason(error: BaseException) -> str:
    """What the operating system or the TLS library said, without the layers around it."""
    innermost, seen = error, {id(error)}
    while (deeper := innermost.__cause__ or innermost.__context__) and id(deeper) not in seen:
        innermost = deeper
        seen.add(id(innermost))
    said = getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__
    return str(said).splitlines()[0][:200]


def _without_query(url: str) -> str:
    """A redirect's target without what may be a secret: signatures, user names, passwords."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    host = f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
    return f"{host}{parts.path}"[:200]
