"""A unit of work for tests, in a module that worker processes can import."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import InputError
from promptseg.work import Unit, request_hash


@dataclass(frozen=True)
class Doubling(Unit[int, int]):
    """Writes factor x number into a file; a file with other content than a number is refused."""

    source: Path
    target: Path

    @property
    def title(self) -> str:
        return self.source.name

    def request(self) -> dict[str, Any]:
        return {"bytes": self.source.read_text()}

    def is_done(self) -> bool:
        try:
            said = json.loads(self.target.read_text())
        except OSError:
            return False
        return bool(said["request"] == request_hash(self.request()))

    def do(self, context: int) -> int:
        text = self.source.read_text()
        if text == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "kill once":  # as one does that meets a full memory
            self.source.write_text("0")
            os.kill(os.getpid(), signal.SIGKILL)
        if not text.isdigit():
            raise InputError("a number", repr(text))
        value = context * int(text)
        said = {"request": request_hash(self.request()), "value": value, "by": os.getpid()}
        self.target.write_text(json.dumps(said))
        return value


def two() -> int:
    return 2


def refuse() -> int:
    raise InputError("no such model", "this one")
