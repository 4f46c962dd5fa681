"""Tasks of a job: each done once, resumed, failures collected, the same by one process and by two."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promptseg.errors import InputError, NoSpaceError, PromptsegError
from promptseg.work import Executor, Inline, Processes, Tally, pace, request_hash, run
from work.doubling import Doubling, refuse, two


def tasks_of(folder: Path, *texts: str) -> list[Doubling]:
    tasks = []
    for k, text in enumerate(texts):
        (folder / f"{k}.txt").write_text(text)
        tasks.append(Doubling(folder / f"{k}.txt", folder / f"{k}.json"))
    return tasks


def quietly(tasks: list[Doubling], workers: int = 1, **how: Any) -> Any:
    def executor(waiting: Sequence[Any]) -> Executor:
        return Processes(workers, two) if workers > 1 else Inline(two)

    return run(tasks, executor, title="numbers", quiet=True, **how)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_failures_are_collected(tmp_path: Path, workers: int) -> None:
    tasks = tasks_of(tmp_path, *"12x45y78")
    outcome = quietly(tasks, workers)
    assert outcome.results == [2, 4, 8, 10, 14, 16]
    assert [f.task for f in outcome.failures] == [tasks[2], tasks[5]]
    assert "expected a number" in str(outcome.failures[0].error)


def test_what_is_done_is_left_alone(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, "1", "x", "3")
    quietly(tasks)
    stamps = [u.target.stat().st_mtime_ns for u in (tasks[0], tasks[2])]
    tasks[1].source.write_text("2")
    outcome = quietly(tasks)
    assert (outcome.skipped, outcome.results) == (2, [4])
    assert [u.target.stat().st_mtime_ns for u in (tasks[0], tasks[2])] == stamps


def test_another_request_is_done_anew(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, "1", "2")
    quietly(tasks)
    tasks[0].source.write_text("5")
    assert quietly(tasks).results == [10]
    tasks[
        0
    ].source.unlink()  # asking for its request raises: doing it does too, and nobody hides that
    with pytest.raises(FileNotFoundError):
        quietly(tasks)


def test_the_first_failure_ends_it_where_asked(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, "1", "x", "3")
    with pytest.raises(InputError):
        quietly(tasks, keep_going=False)
    assert tasks[0].target.exists()
    assert not tasks[2].target.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_it_whoever_finds_it(tmp_path: Path, workers: int) -> None:
    tasks, tally, ended = tasks_of(tmp_path, "1", "full", "x"), Tally(), []
    with pytest.raises(NoSpaceError, match=r"1\.json .no space left"):
        quietly(tasks, workers, tally=tally, on_end=lambda task, *_: ended.append(task.title))
    assert "1.txt" not in ended, "no table would take it"
    assert tally.failed >= 1


def test_every_end_is_told_and_counted(tmp_path: Path) -> None:
    tasks, tally, ended = tasks_of(tmp_path, *"12x"), Tally(skipped=5), []
    quietly(tasks[:1])
    quietly(tasks, tally=tally, on_end=lambda *came: ended.append(came))
    assert [(task.title, result) for task, result, _ in ended] == [("1.txt", 4), ("2.txt", None)]
    assert "a number" in str(ended[1][2])
    assert (tally.skipped, tally.done, tally.failed) == (6, 1, 1)


def test_the_context_is_made_once_and_only_if_needed(tmp_path: Path) -> None:
    made = []

    def make() -> int:
        made.append(1)
        return 2

    tasks = tasks_of(tmp_path, "1", "2")
    for _ in range(2):
        run(tasks, lambda _: Inline(make), title="numbers", quiet=True)
    assert len(made) == 1


def test_two_processes_share_the_units(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, *"123456789")
    quietly(tasks, workers=2)
    by = {json.loads(u.target.read_text())["by"] for u in tasks}
    assert os.getpid() not in by


def test_what_kills_its_process_is_set_aside_and_the_others_are_done(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, "1", "kill", *"345678", "kill", "9")
    outcome = quietly(tasks, workers=2)
    assert outcome.results == [2, 6, 8, 10, 12, 14, 16, 18]
    assert [f.task for f in outcome.failures] == [tasks[1], tasks[8]]
    assert all("killed twice" in str(f.error) for f in outcome.failures)
    tasks[1].source.write_text("2")
    tasks[8].source.write_text("7")
    assert quietly(tasks, workers=2).results == [4, 14], "and the rest is left alone"


def test_processes_that_die_whatever_they_do_end_it(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, *["kill"] * 12)
    with pytest.raises(PromptsegError, match="lower --workers"):
        quietly(tasks, workers=2)


def test_a_model_that_cannot_be_made_is_said_by_its_own_error(tmp_path: Path) -> None:
    with Processes(2, refuse) as pool, pytest.raises(InputError, match="no such model"):
        list(pool.each(tasks_of(tmp_path, "1", "2")))


def test_what_was_beside_a_unit_that_kills_is_done_whole(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, "kill once", *"12345")
    assert quietly(tasks, workers=2).results == [0, 2, 4, 6, 8, 10]


def test_a_long_list_is_taken_as_there_is_room() -> None:
    taken = []

    def endless() -> Any:
        for k in range(10_000):
            taken.append(k)
            yield Doubling(Path("/nowhere"), Path("/nowhere"))

    with Processes(1, two) as pool, pytest.raises(FileNotFoundError):
        for _ in pool.each(endless()):
            pass
    assert len(taken) < 100


def test_hash_of_a_request_by_hand() -> None:
    import hashlib

    text = '{"a":1,"b":[2,"x"]}'
    assert request_hash({"b": (2, "x"), "a": 1}) == hashlib.sha256(text.encode()).hexdigest()


def test_the_last_ones_are_named_where_they_take_far_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow = [Doubling(tmp_path / f"{k}.txt", tmp_path / f"{k}.json") for k in range(2)]
    clock = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    told = pace.Pace()
    clock[0] = 1000.0
    told.look(slow)  # nothing has ended yet, so nothing is usual
    for _ in range(5):
        told.ended(20.0)
    for clock[0] in (1050.0, 1061.0, 1100.0):
        told.look(slow)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["0.txt", "1.txt"]
