"""Tasks on a Ray cluster of two nodes: done once each, whatever dies meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptseg._version import __version__
from promptseg.errors import InputError, MissingPackageError, NoSpaceError, PromptsegError
from promptseg.work import Executor, pace
from promptseg.work.cluster import OnCluster, driver
from promptseg.work.cluster.actors import bytes_of
from promptseg.work.cluster.cases import Case
from promptseg.work.cluster.driver import places
from promptseg.work.cluster.nodes import Node, check_versions
from promptseg.work.cluster.room import NodesRoom
from promptseg.work.cluster.worker_pool import Member
from promptseg.work.memory import TooLargeError
from ray_clusters import kill_one, lose_a_node, two_nodes
from work import ray_stand_in
from work.doubling import (
    Doubling,
    StagedDoubling,
    Weighing,
    alike,
    none,
    refuse_of,
    refusing,
    two,
    two_of,
    weights_there,
)
from work.weighed import Weighed

PYTHON = ".".join(map(str, sys.version_info[:3]))


def tasks_of(folder: Path, *texts: str) -> list[StagedDoubling]:
    folder.mkdir(exist_ok=True)
    tasks = []
    for k, text in enumerate(texts):
        (folder / f"{k}.txt").write_text(text)
        tasks.append(StagedDoubling(folder / f"{k}.txt", folder / f"{k}.out"))
    return tasks


def outcome(executor: Executor, tasks: list[Any]) -> dict[int, Any]:
    place = {id(task): k for k, task in enumerate(tasks)}
    found: dict[int, Any] = {}
    with executor as doing:
        for task, result, error in doing.each(iter(tasks)):
            assert place[id(task)] not in found, "each once"
            found[place[id(task)]] = result if error is None else error
    assert len(found) == len(tasks)
    return found


def on(address: str, **how: Any) -> OnCluster:
    how = {"workers": 2, "threads": 1, "grace": 3.0, **how}
    return OnCluster(address, two_of, none, **how)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with two_nodes() as cluster:
        yield cluster.address


@pytest.mark.cluster
@pytest.mark.slow
class TestOnTwoNodes:
    def test_every_unit_is_done_once_and_failures_are_given_back(
        self, address: str, tmp_path: Path
    ) -> None:
        tasks = tasks_of(tmp_path, *"123", "x", *"567")
        found = outcome(on(address), tasks)
        assert {k: v for k, v in found.items() if k != 3} == {0: 2, 1: 4, 2: 6, 4: 10, 5: 12, 6: 14}
        assert "a number" in str(found[3])

    def test_units_without_stages_are_done_too(self, address: str, tmp_path: Path) -> None:
        tasks = []
        for k, text in enumerate("12x"):
            (tmp_path / f"{k}.txt").write_text(text)
            tasks.append(Doubling(tmp_path / f"{k}.txt", tmp_path / f"{k}.json"))
        found = outcome(on(address), tasks)
        assert (found[0], found[1]) == (2, 4)
        assert isinstance(found[2], InputError)

    def test_what_kills_its_process_twice_is_set_aside(self, address: str, tmp_path: Path) -> None:
        tasks = tasks_of(tmp_path, *"12", "kill", "kill once", *"34")
        found = outcome(on(address), tasks)
        assert [found[k] for k in (0, 1, 3, 4, 5)] == [2, 4, 0, 6, 8]
        assert "died twice" in str(found[2])

    def test_processes_that_die_whatever_they_do_end_it(self, address: str, tmp_path: Path) -> None:
        with pytest.raises(PromptsegError, match="died twice"):
            outcome(on(address), tasks_of(tmp_path, *["kill"] * 8))

    def test_a_result_that_was_written_before_dying_is_told_and_not_made_again(
        self, address: str, tmp_path: Path
    ) -> None:
        tasks = tasks_of(tmp_path, "die after writing once", "4")
        assert outcome(on(address), tasks) == {0: 0, 1: 8}

    def test_a_straggler_is_begun_once_more_and_the_first_answer_counts(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pace, "_LEAST_SLOW", 1.0)
        tasks = tasks_of(tmp_path, *"12345", "slow once", *"67")
        found = outcome(on(address), tasks)
        assert found[5] == 0
        assert (tmp_path / "5.out").read_text() == "0"

    def test_a_fault_is_no_failure_of_a_unit(self, address: str, tmp_path: Path) -> None:
        with pytest.raises(KeyError):
            outcome(on(address), tasks_of(tmp_path, "1", "fault"))

    def test_what_is_read_ahead_is_bounded(self, address: str, tmp_path: Path) -> None:
        taken: list[int] = []

        def many() -> Iterator[StagedDoubling]:
            for k, task in enumerate(tasks_of(tmp_path, *["1"] * 60)):
                taken.append(k)
                yield task

        with on(address) as doing:
            doing.budget = -1
            for done, _ in enumerate(doing.each(many()), start=1):
                assert len(taken) <= done + 1, "one at a time, as nothing else has room"

    def test_a_context_that_cannot_be_made_is_said_before_any_work(
        self, address: str, tmp_path: Path
    ) -> None:
        tasks = tasks_of(tmp_path, "1")
        with pytest.raises(InputError, match="no such model"):
            outcome(OnCluster(address, refuse_of, none, workers=1, threads=1), tasks)
        assert not tasks[0].target.exists()

    def test_nodes_have_to_find_the_same(self, address: str) -> None:
        with on(address, look=alike) as doing:
            assert {node.found for node in doing.nodes} == {"alike"}
            assert {node.promptseg for node in doing.nodes} == {__version__}
        with pytest.raises(InputError, match=r"no such model.*on node"):
            on(address, look=refusing).__enter__()

    def test_without_hands_units_are_done_whole(self, address: str, tmp_path: Path) -> None:
        (tmp_path / "1.txt").write_text("4")
        tasks = [Doubling(tmp_path / "1.txt", tmp_path / "1.json")]
        assert outcome(OnCluster(address, two_of, workers=1, threads=1), tasks) == {0: 8}

    def test_what_no_node_has_the_memory_for_is_set_aside(
        self, address: str, tmp_path: Path
    ) -> None:
        tasks = tasks_of(tmp_path, *"1234")
        heavy = [Weighing(task.source, task.target, 1 << 50) for task in tasks[:1]]
        found = outcome(on(address), [*heavy, *tasks[1:]])
        assert "on the node that has most" in str(found[0])
        assert "about 1048576.0 GiB" in str(found[0])
        assert [found[k] for k in (1, 2, 3)] == [4, 6, 8]
        assert not tasks[0].target.exists()
        whole = outcome(on(address), [Weighed("a", 1 << 50), Weighed("b", 1 << 20)])
        assert isinstance(whole[0], TooLargeError)
        assert whole[1] == "b"

    def test_a_full_disk_there_is_known_as_one_here(self, address: str, tmp_path: Path) -> None:
        found = outcome(on(address), tasks_of(tmp_path, "1", "full once"))
        assert found[0] == 2
        assert isinstance(found[1], NoSpaceError), "which ends a list"

    def test_no_room_is_said(self, address: str) -> None:
        with pytest.raises(InputError, match="--threads"):
            on(address, workers=None, threads=64).__enter__()


@pytest.mark.cluster
@pytest.mark.slow
def test_a_node_and_a_process_are_lost_and_nothing_is_blamed_for_it(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, *["7"] * 120)
    with two_nodes() as cluster, on(cluster.address, workers=4) as doing:
        done = 0
        for _, result, error in doing.each(iter(tasks)):
            assert error is None
            assert result == 14
            done += 1
            if done == 20:
                assert kill_one("Holder", cluster)
            if done == 30:
                assert kill_one("Hand", cluster)
            if done == 40:
                lose_a_node(cluster)
        assert done == 120
    assert all(task.target.read_text() == "14" for task in tasks)


@pytest.mark.cluster
@pytest.mark.slow
def test_a_node_with_another_promptseg_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "promptseg").mkdir()
    (tmp_path / "promptseg" / "__init__.py").touch()
    (tmp_path / "promptseg" / "_version.py").write_text('__version__ = "0.0.1"\n')
    other = {
        "env_vars": {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    }
    with two_nodes(**other) as cluster, pytest.raises(InputError) as refused:
        on(cluster.address).__enter__()
    assert __version__ in str(refused.value)
    assert "0.0.1" in str(refused.value)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "said"),
    [("none", r"the weights on every machine.*on node"), ("others", r"on all nodes.*others on")],
)
def test_a_node_without_the_weights_is_refused_by_its_name(there: str, said: str) -> None:
    with (
        two_nodes(env_vars={"WEIGHTS_THERE": there}) as cluster,
        pytest.raises(PromptsegError, match=said),
    ):
        on(cluster.address, look=weights_there).__enter__()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster of one node in this process, where a test says what becomes of every call."""

    def made(fate: Any) -> tuple[OnCluster, ray_stand_in.Ray]:
        ray = ray_stand_in.Ray(fate)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setattr(driver, "connect", lambda _: False)
        monkeypatch.setattr(driver, "looked_at", lambda _: [])
        monkeypatch.setattr(pace, "_LEAST_SLOW", 0.0)
        monkeypatch.setattr(pace, "_SLOW", 0.0)
        return on("stand-in"), ray

    return made


@pytest.mark.parametrize("how", ["die", "do and die"])
def test_where_a_twin_s_result_is_lost_in_writing_the_straggler_s_own_counts(
    in_process: Any, tmp_path: Path, how: str
) -> None:
    tasks = tasks_of(tmp_path, "1", "7")

    def fate(method: str, task: StagedDoubling, number: int) -> str:
        if task is tasks[1] and (method, number) == ("write", 1):
            return how
        if task is tasks[1] and (method, number) == ("compute", 1) and not ray.dead:
            return "wait"
        return "wait" if method == "compute" and number > 2 else "answer"  # of further twins

    cluster, ray = in_process(fate)
    assert outcome(cluster, tasks) == {0: 2, 1: 14}
    assert ray.dead == [("write", tasks[1])]
    assert ray.count("read", tasks[1]) == 1
    assert ray.count("write", tasks[1]) == 2
    assert tasks[1].target.read_text() == "14"


def test_a_straggler_that_dies_leaves_its_twin_s_result_to_be_written(
    in_process: Any, tmp_path: Path
) -> None:
    tasks = tasks_of(tmp_path, "1", "7", "9")

    def fate(method: str, task: StagedDoubling, number: int) -> str:
        if task is tasks[1] and (method, number) == ("compute", 1):
            return (
                "die" if ray.count("compute", task) == 2 and ray.answered(method, task) else "wait"
            )
        if task is tasks[2] and method == "read":  # who could write has no time meanwhile
            return "answer" if ray.dead else "wait"
        return "answer"

    cluster, ray = in_process(fate)
    assert outcome(cluster, tasks) == {0: 2, 1: 14, 2: 18}
    assert ray.dead == [("compute", tasks[1])]
    assert ray.count("read", tasks[1]) == 1
    assert [task.target.read_text() for task in tasks] == ["2", "14", "18"]


def test_versions_that_differ_are_refused_with_both() -> None:
    check_versions([Node("a", __version__, PYTHON)])
    with pytest.raises(InputError, match=rf"promptseg {__version__} on every node.*9\.9 on b"):
        check_versions([Node("a", __version__, PYTHON), Node("b", "9.9", PYTHON)])
    with pytest.raises(InputError, match="none on b"):
        check_versions([Node("b", "", PYTHON)])
    with pytest.raises(InputError, match=rf"Python {PYTHON} on every node.*Python 3\.99\.1 on b"):
        check_versions([Node("b", __version__, "3.99.1")])


def test_deaths_on_lost_nodes_are_not_blamed_on_the_unit(tmp_path: Path) -> None:
    case = Case(Doubling(tmp_path, tmp_path), 0)
    case.deaths += ["lost", "here"]
    assert case.suspect
    assert not case.to_blame({"here"})
    assert not case.suspect
    case.deaths.append("here")
    assert case.to_blame({"here"})
    for _ in range(12):
        case.deaths = ["lost"]
        blamed = case.to_blame({"here"})
    assert blamed, "at some time it is enough"


def test_units_share_the_memory_of_their_node() -> None:
    room = NodesRoom()
    nodes = [
        {"NodeID": name, "Alive": alive, "Resources": {"memory": size}}
        for name, alive, size in (("a", True, 100.0), ("b", True, 60.0), ("c", False, 999.0))
    ]
    here, there = Member(None, "a", held=20), Member(None, "b", held=10)
    room.look(nodes, [here, there])
    assert room.most() == 80
    assert room.most({"b"}) == 50
    room.take(here, 50)
    assert not room.has(here, 40)
    assert room.has(there, 40)
    assert room.has(here, 0)
    room.give_back(here, 50)
    assert room.has(here, 80)
    assert not room.has(here, 81)


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "found"),
    [
        ([8, 8], 0, None, (4, 4)),
        ([0, 8, 8], 0, None, (4, 4)),  # a head that does no work
        ([2, 8], 0, None, (2, 5)),
        ([0], 0, None, (4, 0)),  # a cluster that has yet to grow
        ([8, 8], 3, None, (4, 3)),
        ([8, 6], 0, 3, (3, 4)),
    ],
)
def test_room_for_processes(
    cpus: list[int], gpus: int, threads: int | None, found: tuple[int, int]
) -> None:
    assert places(cpus, gpus, threads) == found


def test_bytes_of_what_travels() -> None:
    import numpy as np

    class Held:
        def __init__(self) -> None:
            self.voxels, self.name = np.zeros((10, 10), np.int16), "a"

    assert bytes_of({"a": [Held(), b"12345"], "b": 3}) == 205


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"promptseg\[ray\]"):
        OnCluster("auto", two_of, none).__enter__()
    assert two() == 2
