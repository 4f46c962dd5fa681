"""A task of a job for tests, in a module that worker processes can import."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, ModelError, NoSpaceError
from promptseg.work import Staged, Task, request_hash


@dataclass(frozen=True)
class Doubling(Task[int, int]):
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
        if text == "full":
            raise NoSpaceError.at(self.target)
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


@dataclass(frozen=True)
class StagedDoubling(Staged[int, int, str, int]):
    """The same in stages; `slow once` sleeps in the first process that does it."""

    source: Path
    target: Path

    @property
    def title(self) -> str:
        return self.source.name

    def request(self) -> dict[str, Any]:
        return {"bytes": self.source.read_text()}

    def is_done(self) -> bool:
        return self.target.exists()

    def hand_of(self, context: int) -> None:
        return None

    def read(self, hand: Any) -> str:
        if self.target.exists():
            raise InputError("nothing there", str(self.target))
        return self.source.read_text()

    def compute(self, context: int, given: str) -> int:
        if given == "kill" or (given == "kill once" and self._first()):
            os.kill(os.getpid(), signal.SIGKILL)
        if given == "slow once" and self._first():
            time.sleep(60)
        if given == "fault":
            raise KeyError(given)
        if not given.isdigit() and "once" not in given:
            raise InputError("a number", repr(given))
        return context * int(given) if given.isdigit() else 0

    def write(self, hand: Any, given: str, computed: int) -> int:
        if given == "full once":
            raise NoSpaceError.at(self.target)
        with self.target.open("x") as stream:  # once
            stream.write(str(computed))
        if given == "die after writing once" and self._first():
            os.kill(os.getpid(), signal.SIGKILL)
        return computed

    def cached_result(self) -> int | None:
        return int(self.target.read_text()) if self.target.exists() else None

    def _first(self) -> bool:
        mark = self.source.with_suffix(".seen")
        if mark.exists():
            return False
        mark.touch()
        return True


@dataclass(frozen=True)
class Weighing(StagedDoubling):
    """The same, with what it says it needs."""

    need: int = 0

    def memory(self) -> int:
        return self.need


def none() -> None:
    """What hands need."""


def two_of(threads: int) -> int:
    """A context that is told its threads."""
    assert threads == 1
    return 2


def refuse_of(threads: int) -> int:
    return refuse()


def alike() -> str:
    return "alike"


def refusing() -> str:
    raise InputError("no such model", "this one")


def weights_there() -> str:
    """The hash of a node's weights, as its environment has it."""
    there = os.environ.get("WEIGHTS_THERE", "those")
    if there == "none":
        raise ModelError("the weights on every machine", "none", "copy the file there")
    return there
