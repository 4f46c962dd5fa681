"""Whose a file on its way is, and that only those of processes that are gone are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promptseg import leftovers
from promptseg.leftovers import Owner, clean, is_gone, is_part, me, part_name

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def dead() -> Owner:
    """A process of this machine that has ended."""
    code = "from promptseg.leftovers import me; print(me())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    owner = Owner.parse(run.stdout.strip())
    assert owner is not None
    return owner


def test_a_process_is_there_until_it_ends(dead: Owner) -> None:
    assert not is_gone(me())
    assert is_gone(dead)
    assert Owner.parse(str(dead)) == dead
    assert dead[:3] == me()[:3]


@linux
def test_a_number_that_was_given_again_is_another_process() -> None:
    assert is_gone(me()._replace(start=me().start - 1))


@linux
def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    owner = me()._replace(pid=child, start=leftovers._start_of(child) or 0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # ended, and still in the table
    assert is_gone(owner)
    os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"boot": "1" * 8, "machine": "2" * 8}, False),  # another machine on the same network
        ({"boot": "1" * 8}, True),  # this machine, before it was started again
        ({"space": "1" * 8}, False),  # another container
    ],
)
def test_what_cannot_be_compared_is_left_alone(
    dead: Owner, changes: dict[str, Any], gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ("a" * 8, dead.boot, dead.space)
    monkeypatch.setattr(leftovers, "_place", lambda: here)
    assert is_gone(dead._replace(**{"machine": "a" * 8, **changes})) is gone


def test_a_machine_that_cannot_be_told_from_another_is_not_taken_for_it(
    dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ("0" * 8, dead.boot, dead.space)
    monkeypatch.setattr(leftovers, "_place", lambda: here)
    assert not is_gone(dead._replace(machine="0" * 8, boot="1" * 8))


def test_only_what_the_gone_left_is_removed(dead: Owner, tmp_path: Path) -> None:
    gone, live = f".part-{dead}-0123abcd", part_name(".nii.gz")
    stay = [
        live,
        ".part-12-0123abcd.png",  # of an earlier version: nobody knows
        f"{gone}x",
        f"my{gone}",
        ".part-mine",
        f".part-{dead._replace(space='f' * 8)}-0123abcd.png",
    ]
    for name in [f"{gone}.nii.gz", gone, *stay]:
        (tmp_path / name).write_text("x")
    (tmp_path / f".part-{dead}-0000abcd").mkdir()
    (tmp_path / f".part-{dead}-0000abcd" / "inner").write_text("x")
    outside = tmp_path.with_name("outside")
    outside.mkdir()
    (outside / "mine").write_text("x")
    link = tmp_path / f".part-{dead}-0001abcd"
    link.symlink_to(outside, target_is_directory=True)
    clean(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stay, link.name])
    assert (outside / "mine").exists()
    assert all(map(is_part, [gone, live, stay[1]]))
    assert not any(map(is_part, [".part-mine", "part", ".part-12-0123abcdx"]))


@pytest.mark.parametrize(
    ("handle", "error", "times", "started"),
    [
        (7, 0, (120, 0), 120),
        (7, 0, (120, 500), None),  # it has ended, and somebody still holds on to it
        (0, 87, (0, 0), None),  # no such process
        (0, 5, (0, 0), 0),  # somebody else's
    ],
)
def test_windows_is_asked_without_ending_the_process(
    monkeypatch: pytest.MonkeyPatch,
    handle: int,
    error: int,
    times: tuple[int, int],
    started: int | None,
) -> None:
    import ctypes

    def process_times(_: int, begun: Any, ended: Any, *__: Any) -> int:
        begun._obj.value, ended._obj.value = times
        return 1

    kernel = SimpleNamespace(
        OpenProcess=lambda *_: handle,
        GetLastError=lambda: error,
        GetProcessTimes=process_times,
        CloseHandle=lambda _: 1,
    )
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("on Windows this ends the process"))
    assert leftovers._start_of(1234) == started
