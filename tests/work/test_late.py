"""Results that storage shows late: waited for, and said if they never come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from promptseg.errors import InputError, OutputError
from promptseg.work import Inline, Task, Watched, await_results, late


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


class Done(Late):
    def do(self, context: None) -> None:
        return None


def is_seen(task: Task[Any, Any], result: Any) -> bool:
    return task.is_done()


def doing() -> Watched:
    return Watched(Inline(lambda: None), is_seen)


def test_results_of_other_machines_are_looked_for_as_they_come_and_in_the_end(
    waits: list[float],
) -> None:
    tasks = [Done(1), Done(3), Done(1)]
    with doing() as executor:
        assert [task for task, _, _ in executor.each(tasks)] == tasks
    assert [len(task.seen) for task in tasks] == [1, 3, 1]
    assert waits == [0.0, 0.5]
    failed = [Late(9)]
    with doing() as executor:
        ((_, _, error),) = executor.each(failed)
    assert isinstance(error, InputError)
    assert failed[0].seen == [], "nothing is missed of what could not be done"


def test_results_that_are_never_seen_end_the_work_before_all_is_done(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night's work would be on disks that nobody looks at."""
    now = iter(range(0, 10_000, 30))
    monkeypatch.setattr(late.time, "monotonic", lambda: float(next(now)))
    begun: list[Done] = []

    def tasks() -> Iterator[Done]:
        for _ in range(1000):
            begun.append(Done(99))
            yield begun[-1]

    with doing() as executor, pytest.raises(OutputError, match="late 99 after 90 s, nor of"):
        list(executor.each(tasks()))
    assert len(begun) < 10
    assert waits == [], "no need to wait again"
