"""Refusals of the server alone, beside those that are raised everywhere: each with its HTTP status."""

from __future__ import annotations

from pathlib import Path

from promptseg.errors import PromptsegError, UnusableError
from promptseg.formats.exclusive import Exclusive

__all__ = [
    "AbsentError",
    "BusyError",
    "EndedError",
    "FullError",
    "RefusedError",
    "TakenError",
    "TooLargeError",
    "changed_by_others",
    "fault_or_message",
    "require_right",
    "require_unusable",
    "right_to",
    "without_root",
]


class RefusedError(PromptsegError):
    """A request that is refused.

    Attributes:
        status: of the answer.
        retry_after: seconds after which to try again, if that helps.
    """

    status = 400
    retry_after: int | None = None


class AbsentError(RefusedError):
    """No such session, image or page."""

    status = 404


class TakenError(RefusedError):
    """An image that somebody else has open."""

    status = 409


class BusyError(RefusedError):
    """A change to something that is at work."""

    status = 409


class EndedError(RefusedError):
    """A session or lease that has ended."""

    status = 410


class TooLargeError(RefusedError):
    """More than the limits allow."""

    status = 413


class FullError(RefusedError):
    """No room for another session, or a model that is still loading."""

    status = 503
    retry_after = 5


def right_to(file: Path, kind: str, take_over: bool) -> Exclusive:
    """Take the right to go on with a session, for as long as it is open.

    Args:
        file: that keeps it, or the folder.
        kind: what it is on, with an article.
        take_over: whether to take it from another server of the folder.

    Raises:
        TakenError: another server has it.
    """
    right = Exclusive.take(file, by_force=take_over)
    if right is None:
        raise TakenError(
            f"{kind} that nobody has open",
            "one that is open on another server of the same folder",
            "close it there" if take_over else "close it there, or take it over",
        )
    return right


def require_right(right: Exclusive | None) -> None:
    """Refuse to go on with a session that another server has taken over.

    Raises:
        EndedError: it has.
    """
    if right is not None and right.lost:
        raise EndedError(
            "a session that is open", "one that another server has taken over", "open it again"
        )


def changed_by_others(aside: Path | None) -> str:
    """Return what is to be said of a session that somebody else has written to; empty if nobody has."""
    if aside is None:
        return ""
    return (
        f"another program has changed this session on disk: what it wrote is kept as {aside.name}"
    )


def require_unusable(error: PromptsegError) -> None:
    """Refuse to set an earlier session aside for a reason that may pass, such as too little memory.

    Args:
        error: why it cannot be gone on with.

    Raises:
        RefusedError: it may be another time, or with another model.
    """
    if not isinstance(error, UnusableError):
        raise RefusedError(
            "an earlier session that can be gone on with",
            str(error),
            "try again, or begin afresh, which keeps it under another name",
        ) from error


def fault_or_message(error: Exception) -> str:
    """Return the message for a client: our own one line, or only that it is a fault of ours."""
    if isinstance(error, PromptsegError):
        return str(error)
    return f"a fault of promptseg ({type(error).__name__}); please report what you did"


def without_root(text: str, root: str) -> str:
    """Return a message without the path of the served folder, which is nobody's business."""
    return text.replace(f"{root}/", "").replace(root, ".") if root else text
