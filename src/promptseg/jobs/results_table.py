"""`results.csv`: what became of every case of a list, one line each, appended as they are done.

A case is known by its image and output, as numbers of rows change with the list; of several lines on
one, the last counts. Where cases share an output, as embeddings do, the row tells them apart.
"""

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
from promptseg.names import for_csv, from_csv

__all__ = ["FailedBefore", "ResultsTable", "Writer", "columns_with", "read_results"]

_FIRST = ("row", "image", "output", "state")  # what was done before keeps its line
_FAILED, _REMOVED = "failed", "removed"  # states, beside done; the second once it left the list
_LAST = ("seconds", "error", "when")
_TABLES = "results*.csv"
Key = tuple[str, str]


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
        if path.is_symlink() or (path.exists() and _head_of(path) is None):
            raise OutputError(
                f"no {path.name} of others in the output folder", str(path), "move it away"
            )
        for table in sorted(path.parent.glob(_TABLES)):  # lines of all are read as lines of one
            head = _head_of(table)
            if head and head != self.columns:
                raise OutputError(
                    f"an output folder whose {table.name} has the columns {', '.join(self.columns)}",
                    f"{table} with {', '.join(head)}",
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

    Cases that had failed and were taken out of the list are left out.

    Args:
        folder: of the results.
    """
    found: dict[Key, dict[str, str]] = {}
    for line in _lines(folder):
        key = _key_of(line)
        known = found.get(key)
        if known is None or known["when"] <= line["when"]:
            found[key] = line
    there = (line for line in found.values() if line["state"] != _REMOVED)
    return sorted(there, key=lambda line: int(line["row"]))


class FailedBefore:
    """The cases that have failed by the tables of a folder; a list strikes out those that it still has.

    Only what has failed is held, however many cases are done.

    Args:
        folder: of the results.
    """

    def __init__(self, folder: Path) -> None:
        self._lines: dict[Key, dict[str, str]] = {}
        for line in _lines(folder):
            key = _key_of(line)
            known = self._lines.get(key)
            if known is not None and known["when"] > line["when"]:
                continue
            if line["state"] == "done":
                self._lines.pop(key, None)
            else:
                self._lines[key] = line

    def __bool__(self) -> bool:
        return any(line["state"] == _FAILED for line in self._lines.values())

    def strike(self, row: int, image: str, output: str) -> None:
        """Forget a case that is still in the list."""
        texts = {"row": str(row), "image": for_csv(image), "output": for_csv(output)}
        self._lines.pop(_key_of(texts), None)

    def removed(self) -> Iterator[dict[str, str]]:
        """Yield a line for each of the others, which says that it was removed."""
        for line in self._lines.values():
            if line["state"] == _FAILED:
                texts = {name: from_csv(line[name]) for name in ("row", "image", "output")}
                yield {**texts, "state": _REMOVED}


def _key_of(line: Mapping[str, str]) -> Key:
    """What a case is known by, whether its paths are relative or not."""
    output = line["output"]
    return os.path.abspath(line["image"]), os.path.abspath(output) if output else line["row"]


def _lines(folder: Path) -> Iterator[dict[str, str]]:
    """The lines of all tables of a folder, without those that a kill has cut off."""
    for path in sorted(folder.glob(_TABLES)):
        if not _head_of(path):
            continue
        with path.open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                if line["when"]:
                    yield line


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
