"""What a person is told: one line that says what was expected, what there is, and what to do."""

from __future__ import annotations

__all__ = ["GoneError", "Problem", "VersionProblem", "told"]


class Problem(Exception):
    """Something a person can put right; its text is shown as it is."""


class GoneError(Problem):
    """The volume or the segmentation was closed; an answer for it is dropped."""


class VersionProblem(Problem):
    """The server is of another version than this module."""


def told(error: BaseException, address: str) -> Problem:
    """An error of the client as a `Problem`, with what to do in Slicer.

    Args:
        error: what a request raised, or anything else.
        address: of the server.
    """
    if isinstance(error, Problem):
        return error
    status = getattr(error, "status", None)
    if status is None:
        return Problem(
            f"a fault of this module ({type(error).__name__}: {error}); please report it"
        )
    if status == 0:
        return Problem(
            f"expected a server at {address}, got none ({error}); start one (promptseg serve --root "
            "FOLDER, or Start below), or correct the address"
        )
    if status == 401:
        return Problem(
            f"expected the token of the server at {address}, got another; paste the whole address "
            "that the server printed at its last start: every start makes a new one, without --token"
        )
    if status == 404 and "promptseg" not in str(error) and "session" not in str(error):
        return Problem(f"expected a promptseg server at {address}, got something else ({error})")
    if status == 409:
        return Problem(f"{error} (in this module: tick Take over and open the volume again)")
    if status == 503:
        return Problem(f"the server has no room yet: {error}; wait a moment and try again")
    return Problem(str(error))
