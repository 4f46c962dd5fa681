"""A task that says how much memory it takes, in a module that worker processes can import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptseg.errors import InputError
from promptseg.work import Task


@dataclass(frozen=True)
class Weighed(Task[Any, str]):
    """Gives its name."""

    name: str
    need: int

    @property
    def title(self) -> str:
        return self.name

    def memory(self) -> int:
        if self.need < 0:
            raise InputError("a file that can be read", self.name)
        return self.need

    def request(self) -> dict[str, Any]:
        return {}

    def is_done(self) -> bool:
        return False

    def do(self, context: Any) -> str:
        return self.name
