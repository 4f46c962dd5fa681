"""Results that storage shows late: waited for, and said if they never come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from promptseg.errors import InputError, OutputError
from promptseg.work import Task, await_results, late


@dataclass(eq=False)
class Late(Task[None, None]):
    """Seen at its n-th look; a look at storage may fail."""

    looks: int
    seen: list[bool] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"late {self.looks}"

    def request(self) -> dict[str, Any]:
        return {}

    def is_done(self) -> bool:
        self.seen.append(len(self.seen) + 1 >= self.looks)
        if not self.seen[-1]:
            raise OSError("stale file handle")
        return True

    def do(self, context: None) -> None:
        raise InputError("nobody", "this")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(late.time, "sleep", slept.append)
    return slept


def test_what_is_there_is_not_waited_for(waits: list[float]) -> None:
    await_results([Late(1), Late(1)])
    await_results([])
    assert sum(waits) == 0


def test_what_comes_late_is_waited_for_and_the_rest_is_looked_at_once(waits: list[float]) -> None:
    tasks = [Late(1), Late(4)]
    await_results(tasks)
    assert [len(task.seen) for task in tasks] == [1, 4]
    assert waits == [0.0, 0.5, 1.0, 2.0]


def test_what_never_comes_is_said_by_name(waits: list[float]) -> None:
    with pytest.raises(OutputError, match="late 99 after 90 s, nor of 1 others"):
        await_results([Late(1), Late(99), Late(100)])
    assert sum(waits) > 60
