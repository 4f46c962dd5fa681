"""Files that a client sends, on their way into the folder that is served: streamed to the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from promptseg.errors import OutputError
from promptseg.formats.files import atomic_path
from promptseg.formats.table import format_by_suffix
from promptseg.serve.folder import Folder
from promptseg.serve.refusals import TakenError, TooLargeError

__all__ = ["Incoming", "place_for", "receiving"]

_KEPT_FREE = 256 << 20


class Incoming:
    """A file that is being received.

    Args:
        stream: where it goes.
        limit: bytes it may have.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit, self.size = stream, limit, 0

    def add(self, content: bytes) -> None:
        """Append more of its content.

        Raises:
            TooLargeError: more than the limit.
        """
        self.size += len(content)
        if self.size > self._limit:
            raise _too_large(self._limit)
        self._stream.write(content)


def place_for(folder: Folder, name: str, announced: int | None, limit: int) -> Path:
    """Return the path for a file that a client sends; refuse it before any of it is there.

    Args:
        folder: that is served.
        name: below it.
        announced: bytes that are said to come.
        limit: bytes that one file may have.

    Raises:
        OutputError: outside the folder, or no image or video by its ending.
        TakenError: a file that exists.
        TooLargeError: larger than allowed, or than what is free.
    """
    path = folder.output(name)
    if format_by_suffix(path) is None:
        raise OutputError(
            "a video or image (.mp4, .mov, .avi, .webm, .mkv, .gif, .dcm, .png, .nii.gz, ...)",
            repr(path.name[:60]),
            "give it the ending of its format",
        )
    if announced is not None and announced > limit:
        raise _too_large(limit)
    if path.exists():
        raise TakenError("a new file", f"{name!r:.200}, which exists", "give it another name")
    free = shutil.disk_usage(folder.root).free - _KEPT_FREE
    if announced is not None and announced > free:
        raise TooLargeError(
            f"a file that the disk has room for ({max(free, 0) >> 20} MiB)",
            f"{announced >> 20} MiB",
            "free some space",
        )
    return path


@contextmanager
def receiving(path: Path, limit: int) -> Iterator[Incoming]:
    """Open a file for what a client sends; it has its name only when all of it is there.

    Raises:
        OutputError: it cannot be written, such as on a full disk, or has appeared meanwhile.
    """
    with atomic_path(path, overwrite=False) as temporary, temporary.open("wb") as stream:
        yield Incoming(stream, limit)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"a file of at most {limit >> 20} MiB",
        "a larger one",
        "start the server with a larger --upload-mib, or put the file into its folder",
    )
