"""Units that do nothing, for what a cluster itself takes; in a module that its processes can import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptseg.work import Staged

__all__ = ["Nothing", "no_context", "no_hand"]


@dataclass(frozen=True)
class Nothing(Staged[None, int, int, int]):
    """Goes through all stages and does nothing in them."""

    number: int

    @property
    def title(self) -> str:
        """Its number."""
        return str(self.number)

    def request(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def is_done(self) -> bool:
        """Never."""
        return False

    def hand_of(self, context: None) -> None:
        """None."""

    def read(self, hand: None) -> int:
        """Its number."""
        return self.number

    def compute(self, context: None, given: int) -> int:
        """Its number."""
        return given

    def write(self, hand: None, given: int, computed: int) -> int:
        """Its number."""
        return computed


def no_context(threads: int) -> None:
    """What no task needs."""


def no_hand() -> None:
    """Nor what reads and writes."""
