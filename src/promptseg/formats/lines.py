"""A file of JSON lines that many programs may append to, and that a kill cannot damage."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from promptseg.errors import InputError, OutputError, UnusableError
from promptseg.formats.files import check_output
from promptseg.parsing import parse_json

__all__ = ["append_line", "read_lines"]


_BLOCK = 1 << 16
_BEGIN = b"{"  # of a line of ours, half as it may be


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append one line: whole and on the disk when this returns, or not at all.

    Half a line at the end, which a power cut can leave, is cut off first.

    Raises:
        InputError: it ends with something that is no half line of a log.
        OutputError: the file cannot be written.
    """
    check_output(path, overwrite=True)
    line = _line(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(descriptor, line)  # one call: lines of two programs never mix
            if written < len(line):  # what there is of it is cut off next time
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(
            "a log that can be written", f"{path} ({error.strerror})", "choose another one"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number, counted from 1, and the content of every line; nothing if there is no file.

    Half a line at the end is no line.

    Raises:
        InputError: not readable now.
        UnusableError: a line that is no JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError("a log of JSON lines", f"{path} ({error.strerror})") from error
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        content = _parsed(line)
        if content is None:
            if number == len(lines) and line.startswith(_BEGIN):
                return
            raise UnusableError(
                "a log of JSON lines", f"{path} with something else in line {number}", "correct it"
            )
        yield number, content


def _line(content: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a pair of UTF-16, which only an escape can hold
        text = json.dumps(content).encode()
    return text + b"\n"


def _mend(path: Path) -> None:
    """Let the file end with a whole line."""
    try:
        stream = path.open("r+b")
    except FileNotFoundError:
        return
    with stream:
        begin, last = _last_line(stream)
        if not last:
            return
        if _parsed(last) is None and not last.startswith(_BEGIN):
            raise InputError("a log of JSON lines", f"{path} with something else", "name another")
        if _parsed(last) is None:
            stream.truncate(begin)
        else:
            stream.seek(0, os.SEEK_END)
            stream.write(b"\n")


def _last_line(stream: IO[bytes]) -> tuple[int, bytes]:
    """Where the last line begins, and what it is; read from the end."""
    begin, last = stream.seek(0, os.SEEK_END), b""
    while begin and b"\n" not in last:
        size = min(_BLOCK, begin)
        begin -= size
        stream.seek(begin)
        last = stream.read(size) + last
    cut = last.rfind(b"\n") + 1
    return begin + cut, last[cut:]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        content = parse_json(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
