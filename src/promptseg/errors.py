"""One family of errors: each says what was expected, what was found and what to do.

Everything a user can cause derives from :class:`PromptsegError`; the command line turns it into one
line and exit code 2. Any other exception is a fault of ours (exit code 1). What code decides by is the
kind of an error and its fields, never its words.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

__all__ = [
    "AssetError",
    "ChoiceError",
    "GeometryError",
    "InputError",
    "InterruptedRunError",
    "LabelsError",
    "MissingPackageError",
    "ModelError",
    "NoSpaceError",
    "OutputError",
    "PromptError",
    "PromptsegError",
    "UnreachableError",
    "UnsupportedPromptError",
    "UnusableError",
    "damaged_as",
    "did_you_mean",
    "interruption_behind",
    "is_fault",
]

_MISTAKES = (
    *(TypeError, AttributeError, NameError, AssertionError, ImportError, NotImplementedError),
)
_HOME = Path(__file__).parent


def is_fault(error: BaseException) -> bool:
    """Tell whether an exception is a mistake in a line of this package, rather than a damaged file.

    Libraries raise anything on files that are broken, so whoever reads with them catches everything;
    but a wrong name, attribute or argument in a line of ours is no fault of the file, and is raised
    again by them.
    """
    trace = error.__traceback__
    if not isinstance(error, _MISTAKES) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename).is_relative_to(_HOME)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return advice for a name that is close to a known one; empty if none is.

    Examples:
        >>> did_you_mean("segmnt", ["segment", "train"])
        'did you mean segment?'
    """
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


class PromptsegError(Exception):
    """Base of every error that the user can put right.

    Args:
        expected: what would have been accepted.
        got: what was found instead.
        do: what to do about it.

    Examples:
        >>> import promptseg
        >>> try:
        ...     promptseg.read("no_such_file.nii.gz")
        ... except promptseg.PromptsegError as error:
        ...     print(type(error).__name__, "|", error.got)
        InputError | no_such_file.nii.gz: no such file
    """

    exit_code = 2

    def __init__(self, expected: str, got: str = "", do: str = "") -> None:
        self.expected, self.got, self.do = expected, got, do
        super().__init__(expected, got, do)

    def to_json(self) -> dict[str, str]:
        """Return the kind of error, what was expected, what was got and what to do, for programs."""
        said = {"expected": self.expected, "got": self.got, "do": self.do}
        return {"kind": type(self).__name__, **said}

    def __str__(self) -> str:
        message = f"expected {self.expected}"
        if self.got:
            message += f", got {self.got}"
        if self.do:
            message += f"; {self.do}"
        return message


class InputError(PromptsegError):
    """A file or array that cannot be used as an image."""


class UnusableError(InputError):
    """A file of ours that is damaged, of another version or of something else: reading it again would
    not help.
    """


@contextmanager
def damaged_as(
    expected: str, where: str, do: str, passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one `InputError`; ours pass through.

    To be put around the reading of what users give alone. A mistake in a line of ours is raised as it
    is (`is_fault`): values that may be of another type are looked at there.

    Args:
        expected: what the file should be.
        where: the file.
        do: what to do about it.
        passing: what else is left to the caller.
    """
    left: tuple[type[Exception], ...] = (PromptsegError, *passing)
    try:
        yield
    except left:
        raise
    except MemoryError:
        raise InputError(f"{expected} that fits into memory", where, do) from None
    except Exception as error:
        if is_fault(error):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(expected, f"{where} ({reason})", do) from error


class ChoiceError(InputError):
    """A file that holds several things, of which an option chooses one.

    Args:
        expected, got, do: as of every error.
        option: field of `promptseg.formats.ReadOptions` that chooses.
        offers: what there is to choose from, in words ("12 time points").
    """

    def __init__(
        self, expected: str, got: str = "", do: str = "", option: str = "", offers: str = ""
    ) -> None:
        super().__init__(expected, got, do)
        self.option, self.offers = option, offers


class LabelsError(InputError):
    """Values that are no labels: fractions, below 0 or beyond 16 bits."""


class GeometryError(InputError):
    """A grid that is missing, contradictory or does not match another one."""


class PromptError(PromptsegError):
    """A prompt that makes no sense for this image (outside, empty, inverted, unknown field).

    Attributes:
        where: its place in a prompt file, where that is said; it stands before what was expected.
    """

    where = ""

    def at(self, where: str) -> PromptError:
        """Return the same error with the place in a file, unless it has one already."""
        if self.where:
            return self
        placed = type(self)(f"{where}: {self.expected}", self.got, self.do)
        placed.where = where
        return placed


class UnsupportedPromptError(PromptError):
    """A prompt of a kind the model was not trained for."""


class ModelError(PromptsegError):
    """A checkpoint that cannot be loaded, or an unknown model."""


class AssetError(PromptsegError):
    """A file of ours (weights, samples) that cannot be obtained or does not verify."""


class UnreachableError(AssetError):
    """A file of ours that no source could give: there may be no network."""


class MissingPackageError(PromptsegError):
    """A part of promptseg that needs a package which is not installed.

    Args:
        package: its name.
        purpose: what it is for.
        extra: the extra of promptseg that brings it; the package itself if there is none.
    """

    def __init__(self, package: str, purpose: str, extra: str = "") -> None:
        install = f"pip install 'promptseg[{extra}]'" if extra else f"pip install {package}"
        super().__init__(f"{package} {purpose}", "none installed", install)
        self.args = (package, purpose, extra)
        self.package = package


class OutputError(PromptsegError):
    """A result that cannot be written where or how the user asked."""


class InterruptedRunError(KeyboardInterrupt):
    """An interruption (Ctrl-C) of a run that the same command takes up where it was."""


def interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption that an error came of, or None.

    What was at work when Ctrl-C came may complain while it is left, as a ZIP file does that was being
    written: that hides the interruption.

    Examples:
        >>> try:
        ...     try:
        ...         raise KeyboardInterrupt
        ...     finally:
        ...         raise ValueError("closed while it was written")
        ... except ValueError as error:
        ...     interruption_behind(error)
        KeyboardInterrupt()
    """
    behind = error.__context__
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__context__
    return behind


class NoSpaceError(OutputError):
    """The error of a full disk: of many results, the next ones would fail alike."""

    @classmethod
    def at(cls, place: object) -> NoSpaceError:
        """Return the error about this file or folder."""
        return cls(
            "an output that can be written",
            f"{place} (no space left on the disk)",
            "free some space; the same command goes on",
        )

    @staticmethod
    def is_meant(error: OSError) -> bool:
        """Tell whether a system's error means this: a full disk, or a quota."""
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
