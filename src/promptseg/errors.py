"""One family of errors: each says what was expected, what was found and what to do.

Everything a user can cause derives from :class:`PromptsegError`; the command line turns it into one
line and exit code 2. Any other exception is a fault of ours (exit code 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "AssetError",
    "GeometryError",
    "InputError",
    "ModelError",
    "OutputError",
    "PromptError",
    "PromptsegError",
    "UnsupportedPromptError",
    "damaged_as",
]


class PromptsegError(Exception):
    """Base of every error that the user can put right.

    Args:
        expected: what would have been accepted.
        got: what was found instead.
        do: what to do about it.
    """

    exit_code = 2

    def __init__(self, expected: str, got: str = "", do: str = "") -> None:
        self.expected, self.got, self.do = expected, got, do
        super().__init__(expected, got, do)

    def __str__(self) -> str:
        message = f"expected {self.expected}"
        if self.got:
            message += f", got {self.got}"
        if self.do:
            message += f"; {self.do}"
        return message


class InputError(PromptsegError):
    """A file or array that cannot be used as an image."""


@contextmanager
def damaged_as(
    expected: str, where: str, do: str, passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """What reading a damaged file raises, as one `InputError`; ours pass through.

    To be put around the reading of what users give alone: there is nothing that libraries, and values
    of another type than expected, do not raise.

    Args:
        expected: what the file should be.
        where: the file.
        do: what to do about it.
        passing: what else is left to the caller.
    """
    try:
        yield
    except (PromptsegError, *passing):
        raise
    except MemoryError:
        raise InputError(f"{expected} that fits into memory", where, do) from None
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(expected, f"{where} ({reason})", do) from error


class GeometryError(InputError):
    """A grid that is missing, contradictory or does not match another one."""


class PromptError(PromptsegError):
    """A prompt that makes no sense for this image (outside, empty, inverted, unknown field)."""


class UnsupportedPromptError(PromptError):
    """A prompt of a kind the model was not trained for."""


class ModelError(PromptsegError):
    """A checkpoint that cannot be loaded, or an unknown model."""


class AssetError(PromptsegError):
    """A file of ours (weights, samples) that cannot be obtained or does not verify."""


class OutputError(PromptsegError):
    """A result that cannot be written where or how the user asked."""
