"""The audit log: who did what, when and to which image, in lines of JSON that are only ever added.

No line holds anything of an image or of a patient: images are named by the hash of their path that
names their folder below `.promptseg`, objects, prompts and notes not at all.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from promptseg.errors import PromptsegError
from promptseg.formats.files import check_output
from promptseg.formats.lines import append_line, read_lines

__all__ = ["Audit"]

log = logging.getLogger("promptseg.serve")

_MOST_BYTES = 16 << 20
_KEPT = 9


class Audit:
    """Audit log in a file, which is renamed when it is long; `kept` older ones stay beside it.

    Args:
        path: the file; older ones are called after it, `.1` the newest.
        most_bytes: after which a new file is begun.
        kept: older files.

    Raises:
        OutputError: no place for a file.
    """

    def __init__(self, path: Path, most_bytes: int = _MOST_BYTES, kept: int = _KEPT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_output(path, overwrite=True)
        self.path, self._most, self._kept = path.resolve(), most_bytes, kept
        self._lock, self._failed = Lock(), False

    def write(self, **fields: Any) -> None:
        """Add a line: the time, and what is not None of the fields.

        A line that cannot be written is told in the server's log, and the request goes on.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, **{k: v for k, v in fields.items() if v is not None}}
        with self._lock:
            try:
                if self.path.exists() and self.path.stat().st_size >= self._most:
                    self._turn()
                append_line(self.path, line)
                self._failed = False
            except (PromptsegError, OSError):
                if not self._failed:
                    log.error("the audit log cannot be written")
                self._failed = True

    def last(self, count: int) -> list[dict[str, Any]]:
        """Return the newest lines, the oldest of them first."""
        found: deque[dict[str, Any]] = deque(maxlen=count)
        with self._lock:
            for path in (self._older(1), self.path):
                with suppress(PromptsegError):
                    found.extend(line for _, line in read_lines(path))
        return list(found)

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _turn(self) -> None:
        """Begin a new file; the oldest one goes."""
        for number in range(self._kept, 0, -1):
            if number == self._kept:
                self._older(number).unlink(missing_ok=True)
            older = self._older(number - 1) if number > 1 else self.path
            if older.exists():
                os.replace(older, self._older(number))
