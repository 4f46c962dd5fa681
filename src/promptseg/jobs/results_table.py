"""`results.csv`: what became of every case of a list, one line each, appended as they are done."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptseg.errors import NoSpaceError, OutputError
from promptseg.names import for_csv

__all__ = ["ResultsTable", "Writer", "columns_with", "read_results"]

_FIRST = ("row", "image", "output", "state")  # done or failed; what was done before keeps its line
_LAST = ("seconds", "error", "when")


def columns_with(own: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a results table.

    Args:
        own: those that a verb adds to what is said of every case.
    """
    return (*_FIRST, *own, *_LAST)


class ResultsTable:
    """A table that only grows, a whole line at a time: what is there after a kill can be read.

    Args:
        path: of the table; every writer has one of its own.
        own: columns that the verb adds.

    Raises:
        OutputError: a file of somebody else's is there, or a table with other columns.
    """

    def __init__(self, path: Path, own: Sequence[str] = ()) -> None:
        self.path, self.columns = path, columns_with(own)
        head = _head_of(path) if path.exists() else ()
        if path.is_symlink() or head is None:
            raise OutputError(
                f"no {path.name} of others in the output folder", str(path), "move it away"
            )
        if head and head != self.columns:  # lines of both would be read as lines of one
            raise OutputError(
                f"an output folder whose {path.name} has the columns {', '.join(self.columns)}",
                f"{path} with {', '.join(head)}",
                "another verb or version wrote it: name another folder, or move it away",
            )

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Open the table, with its head if it is new.

        Raises:
            OutputError: the folder cannot be written.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _drop_torn_line(self.path)
            descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise OutputError(
                "a folder that can be written", f"{self.path} ({error.strerror})"
            ) from error
        try:
            writer = Writer(descriptor, self.path, self.columns)
            if os.fstat(descriptor).st_size == 0:
                writer.append(dict(zip(self.columns, self.columns, strict=True)))
            yield writer
        finally:
            os.close(descriptor)


class Writer:
    """Appends lines to a results table, each by one call."""

    def __init__(self, descriptor: int, path: Path, columns: Sequence[str]) -> None:
        self._descriptor, self._path, self._columns = descriptor, path, columns

    def append(self, cells: Mapping[str, Any]) -> None:
        """Add a line.

        Args:
            cells: column -> value; `when` is now unless given.

        Raises:
            OutputError: the disk is full, say.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        said = {"when": now, **cells}
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(_cell(said.get(c)) for c in self._columns)
        try:
            os.write(self._descriptor, text.getvalue().encode())
        except OSError as error:
            if NoSpaceError.is_meant(error):
                raise NoSpaceError.at(self._path) from error
            raise OutputError(
                "a table that can be written", f"{self._path} ({error.strerror})"
            ) from error


def read_results(folder: Path) -> list[dict[str, str]]:
    """Read the last line on every case, of all the tables that the shards of a job have written.

    Args:
        folder: of the results.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("results*.csv")):
        if not _head_of(path):
            continue
        with path.open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                if line["when"]:  # else a line that a kill has cut off
                    known = found.get(line["row"])
                    if known is None or known["when"] <= line["when"]:
                        found[line["row"]] = line
    return sorted(found.values(), key=lambda line: int(line["row"]))


def _head_of(path: Path) -> tuple[str, ...] | None:
    """The columns of a table of ours, none of an empty file; None of a file of somebody else's."""
    try:
        with path.open(encoding="utf-8") as stream:
            head = tuple(stream.readline().rstrip("\n").split(","))
    except (OSError, UnicodeDecodeError):
        return None
    if head == ("",):
        return ()
    first, last = head[: len(_FIRST)], head[-len(_LAST) :]
    return head if (first, last) == (_FIRST, _LAST) else None


def _drop_torn_line(path: Path) -> None:
    """Take away what a kill has left of a last line."""
    if not path.exists():
        return
    with path.open("rb+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - (1 << 16)))
        tail = stream.read()
        if tail and not tail.endswith(b"\n"):
            stream.truncate(size - len(tail) + tail.rfind(b"\n") + 1)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    return for_csv(value) if isinstance(value, str) else str(value)
