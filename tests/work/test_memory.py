"""Tasks are begun only where the memory that they need is free."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from promptseg._version import __version__
from promptseg.formats import memory as system
from promptseg.work import Executor, Inline, Processes, Task, Threads
from promptseg.work import memory as module
from promptseg.work.cluster.actors import Holder
from promptseg.work.memory import Room, TooLargeError, processes_with_room
from work.doubling import two
from work.weighed import Growing, Weighed

GIB = 1 << 30


@pytest.fixture
def ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 10 GiB free."""
    monkeypatch.setattr(module, "available_bytes", lambda: 10 * GIB)


def outcome(executor: Executor, tasks: list[Any]) -> list[Any]:
    with executor as doing:
        done = {id(task): result or error for task, result, error in doing.each(iter(tasks))}
    return [done[id(task)] for task in tasks]


@pytest.mark.parametrize("make", [Inline, lambda c: Threads(2, c), lambda c: Processes(2, c)])
def test_what_does_not_fit_is_set_aside_with_its_estimate(ten: None, make: Any) -> None:
    tasks = [Weighed("a", 2 * GIB), Weighed("b", 11 * GIB), Weighed("c", 0), Weighed("d", 10 * GIB)]
    found = outcome(make(two), tasks)
    assert [found[k] for k in (0, 2, 3)] == ["a", "c", "d"]
    assert isinstance(found[1], TooLargeError)
    assert "about 11.0 GiB" in str(found[1])
    assert "10.0 GiB free" in str(found[1])
    assert "lower --workers" in str(found[1])


@pytest.mark.parametrize("make", [Inline, lambda c: Threads(2, c), lambda c: Processes(2, c)])
def test_memory_that_ends_is_the_failure_of_its_task(make: Any) -> None:
    hows = ("", "numpy", "torch", "gpu", "")
    found = outcome(make(two), [Growing(str(k), 1 << 55, how) for k, how in enumerate(hows)])
    assert [found[0], found[4]] == ["0", "4"]
    for lack, said in zip(found[1:4], ("32.0 PiB", "DefaultCPUAllocator", "CUDA"), strict=True):
        assert isinstance(lack, TooLargeError)
        assert said in str(lack)
        assert "lower --workers or --batch" in str(lack)
    assert "--device cpu" in str(found[3])
    with pytest.raises(RuntimeError, match="shapes"):
        outcome(make(two), [Growing("a", 0, "fault")])


def test_memory_that_ends_on_a_node_is_the_failure_of_its_task() -> None:
    holder = Holder(two, ".", __version__)
    result, lack, _ = holder.do(Growing("a", 1 << 55, "numpy"))
    assert result is None
    assert isinstance(lack, TooLargeError)
    with pytest.raises(RuntimeError, match="shapes"):
        holder.do(Growing("a", 0, "fault"))


@dataclass(eq=False)
class Counted(Task[Any, int]):
    """Says how many were at work at the same time as itself."""

    need: int
    at_work: list[int] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    @property
    def title(self) -> str:
        return "counted"

    def memory(self) -> int:
        return self.need

    def request(self) -> dict[str, Any]:
        return {}

    def is_done(self) -> bool:
        return False

    def do(self, context: Any) -> int:
        with self.lock:
            self.at_work.append(1)
            count = len(self.at_work)
        time.sleep(0.05)
        with self.lock:
            self.at_work.pop()
        return count


def test_fewer_are_done_at_once_where_they_do_not_fit_together(
    ten: None, caplog: pytest.LogCaptureFixture
) -> None:
    together: list[int] = []
    lock = threading.Lock()
    tasks = [Counted(4 * GIB, together, lock) for _ in range(6)]
    with caplog.at_level(logging.WARNING, "promptseg"):
        assert max(outcome(Threads(4, two), tasks)) == 2
    (said,) = [record.getMessage() for record in caplog.records]
    assert "about 4.0 GiB, of 10.0 GiB" in said
    small = [Counted(GIB, together, lock) for _ in range(8)]
    assert max(outcome(Threads(4, two), small)) > 2


def test_only_those_that_can_be_at_work_count() -> None:
    room = Room(2, held=GIB, free=10.0 * GIB)
    assert room.bytes == 8 * GIB
    task = Weighed("a", 0)
    assert room.holds(task, 4 * GIB, [4 * GIB, GIB, GIB, GIB]), "two at a time, the others queue"
    assert not room.holds(task, 5 * GIB, [4 * GIB])
    assert room.holds(task, 0, [8 * GIB])
    assert room.refusal(8 * GIB) is None
    assert room.refusal(9 * GIB) is not None


def test_processes_that_would_not_even_fit_idle_are_not_started(
    ten: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "promptseg"):
        assert processes_with_room(4, 3 * GIB) == 3
    assert "3 processes in place of 4" in caplog.text
    assert processes_with_room(3, 3 * GIB) == 3
    assert processes_with_room(2, 20 * GIB) == 1


def test_an_estimate_that_cannot_be_made_refuses_nothing(ten: None) -> None:
    assert outcome(Inline(two), [Weighed("a", -1)]) == ["a"]


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "inactive_file 100"}, 400),
        ({"memory.max": "max", "memory.current": "700", "memory.stat": "inactive_file 100"}, None),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "900",
                "memory/memory.stat": "cache 5\ntotal_inactive_file 50",
            },
            150,
        ),
        ({}, None),
    ],
)
def test_what_a_container_or_scheduler_allows_counts(
    tmp_path: Path, files: dict[str, str], free: int | None
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert system._allowed_bytes(tmp_path) == free
