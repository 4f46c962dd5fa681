"""Users of the server: named by a proxy in front of it, and by nobody else.

A server that names no header knows one user, who may do everything. With one, every request has to come
from the proxy and to carry the name; what it does is done as that user.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, get_args

from promptseg.errors import InputError
from promptseg.serve.refusals import RefusedError

__all__ = [
    "ROLES",
    "Caller",
    "DeniedError",
    "Role",
    "UnknownUserError",
    "Users",
    "caller",
    "calling",
    "require_admin",
    "require_own",
    "require_reviewer",
]

Role = Literal["annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

_OTHERS = "*"
_LONGEST_NAME = 100
_READS = ("GET", "HEAD")
_REVIEWS = {  # what a reviewer may do beside reading: open, close, flag
    ("POST", "/api/sessions"),
    ("POST", "/api/slides"),
    ("POST", "/api/videos"),
    ("PUT", "/api/images"),
}
_CLOSES = ("/api/sessions/", "/api/slides/", "/api/videos/")


class DeniedError(RefusedError):
    """Something that the role of a user does not allow, or a name that the proxy did not send."""

    status = 403


class UnknownUserError(RefusedError):
    """A request without the name of a user."""

    status = 401


@dataclass
class Caller:
    """The user who makes a request, and the image that it turned out to be about.

    Attributes:
        name: of the user; empty where users have no names.
        role: what they may do.
        image: path below the root of the image it is about, for the audit log alone.
    """

    name: str = ""
    role: Role = "admin"
    image: str | None = field(default=None, compare=False)


_CALLER: ContextVar[Caller] = ContextVar("promptseg_caller")


def caller() -> Caller:
    """Return the user whose request is being answered; one without a name where there is none."""
    return _CALLER.get(None) or Caller()


def calling(who: Caller) -> None:
    """Set the user for whom all is done from here on, in this context."""
    _CALLER.set(who)


class Users:
    """The users of a server.

    Args:
        header: in which the proxy names them; None: nobody has a name.
        proxies: addresses or networks whose header is believed; this machine's own if none.
        roles: "NAME=ROLE" each; the name `*` stands for everybody else, who are annotators otherwise.

    Raises:
        InputError: no header, address or role.

    Examples:
        >>> users = Users("X-Remote-User", ["10.0.0.2"], ["anna=reviewer"])
        >>> users.named([(b"x-remote-user", b"anna")], "10.0.0.2").role
        'reviewer'
    """

    def __init__(
        self,
        header: str | None = None,
        proxies: Iterable[str] = (),
        roles: Sequence[str] = (),
    ) -> None:
        if header is not None and not (header.isascii() and header.replace("-", "").isalnum()):
            raise InputError("--user-header such as X-Remote-User", repr(header)[:60])
        self._header = None if header is None else header.lower().encode()
        given = list(proxies)
        if header is None and (given or roles):
            what = "--trusted-proxy" if given else "--role"
            raise InputError(f"--user-header beside {what}", "none", "name the proxy's header")
        self._proxies = [_network(text) for text in given or ["127.0.0.0/8", "::1"]]
        self._roles = dict(_role(text) for text in roles)

    @property
    def have_names(self) -> bool:
        """Tell whether users have names."""
        return self._header is not None

    def named(self, headers: Iterable[tuple[bytes, bytes]], address: str | None) -> Caller:
        """Return the user whom a request comes from.

        Args:
            headers: of the request, as they came.
            address: it comes from.

        Raises:
            DeniedError: a name that somebody else than the proxy sent, or several.
            UnknownUserError: no name.
        """
        if self._header is None:
            return Caller()
        names = [value for key, value in headers if key.lower() == self._header]
        if not self._is_proxy(address):
            raise DeniedError(
                "a request through the proxy of this server",
                "one from another address" + (" that names a user" if names else ""),
                "open the proxy's address",
            )
        if len(names) > 1:
            raise DeniedError("one user's name from the proxy", f"{len(names)} of them")
        try:
            name = names[0].decode("utf-8").strip() if names else ""
        except UnicodeDecodeError:
            name = "\0"
        if not name:
            raise UnknownUserError(
                "the name of a user from the proxy", "none", "sign in, or let the proxy send it"
            )
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise DeniedError(
                f"a user's name of at most {_LONGEST_NAME} characters", "another one from the proxy"
            )
        return Caller(name, self._roles.get(name, self._roles.get(_OTHERS, "annotator")))

    def require(self, who: Caller, method: str, path: str) -> None:
        """Refuse what a role does not allow: reviewers read, open, close and flag.

        Raises:
            DeniedError: it is not allowed.
        """
        closes = method == "DELETE" and path.startswith(_CLOSES) and path.count("/") == 3
        if who.role != "reviewer" or method in _READS or closes or (method, path) in _REVIEWS:
            return
        raise DeniedError(
            "an annotator for what changes something", "a reviewer, who reads and flags"
        )

    def _is_proxy(self, address: str | None) -> bool:
        try:
            known = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        known = getattr(known, "ipv4_mapped", None) or known
        return any(known in network for network in self._proxies)


def require_own(read_only: bool) -> None:
    """Refuse to change what is looked at.

    Raises:
        DeniedError: it is somebody else's work.
    """
    if read_only:
        raise DeniedError(
            "work of your own", "that of somebody else, to be looked at", "open the image yourself"
        )


def require_reviewer() -> None:
    """Refuse annotators.

    Raises:
        DeniedError: an annotator asks.
    """
    if caller().role == "annotator":
        raise DeniedError("a reviewer or an admin for the work of others", "an annotator")


def require_admin() -> None:
    """Refuse everybody but admins.

    Raises:
        DeniedError: somebody else asks.
    """
    if caller().role != "admin":
        raise DeniedError("an admin", f"a user who is {caller().role}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise InputError(
            "--trusted-proxy with an address or a network, 10.0.0.2 or 10.0.0.0/24", repr(text)[:60]
        ) from None


def _role(text: str) -> tuple[str, Role]:
    name, _, given = text.rpartition("=")
    for role in ROLES:
        if name and given == role:
            return name, role
    raise InputError(f"--role USER=ROLE with a role out of {', '.join(ROLES)}", repr(text)[:100])
