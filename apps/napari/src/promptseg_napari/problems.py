"""What a person is told."""

from __future__ import annotations

__all__ = ["Problem", "missing"]


class Problem(Exception):  # noqa: N818 (shown to people, who have not made an error)
    """Something a person can put right; its text is shown as it is."""


def missing(package: str, extra: str) -> Problem:
    """A package that has to be installed by the user, first."""
    return Problem(
        f"expected {package} in napari's Python, got none; install it: pip install "
        f"'promptseg-napari[{extra}]'"
    )
