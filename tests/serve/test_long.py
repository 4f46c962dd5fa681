"""Small rounds of what benchmarks/serve_kill.py and serve_fuzz.py do for longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import promptseg
from promptseg.prompts import Box
from promptseg.serve.desk import Desk

pytestmark = pytest.mark.slow


def said(*command: str) -> dict[str, Any]:
    """The line of JSON that a program of this folder prints; it fails where something is wrong."""
    tests, source = (
        Path(__file__).resolve().parent.parent,
        Path(promptseg.__file__).resolve().parent.parent,
    )
    run = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{tests}"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the server is forked")
def test_killed_at_random_moments_nothing_is_lost_but_the_step_at_work() -> None:
    found = said("serve.killing", "4", "3")
    assert found["kills"] == 4
    assert found["answered"] > 0
    assert found["at_work_kept"] + found["at_work_lost"] == 4
    assert found["leftovers"] == 0


def test_whatever_is_asked_nothing_breaks_and_nothing_outside_is_touched() -> None:
    found = said("serve.fuzzing", "2000", "0")
    assert found["requests"] == 2000
    assert {"200", "400", "403", "404"} <= found.keys()
    assert found["200"] > 200, "requests that do something are among them"


def test_a_session_that_is_being_answered_is_alive(desk: Desk) -> None:
    """However long the answer takes: its client waits."""
    work, now = desk.open_path("scan.nii.gz"), [0.0]
    work.lease.clock = lambda: now[0]
    work.lease.act()

    def slow() -> None:
        now[0] += 10 * work.lease.liveness_s
        desk.sweep()

    work.change(slow)
    assert desk.get(work.id) is work
    now[0] += work.lease.liveness_s + 1
    desk.sweep()
    assert desk.works == []


def test_the_end_of_following_is_told_with_its_masks(desk: Desk) -> None:
    """Before the masks are told, nobody is told that there are no more to come."""
    work, told = desk.open_path("scan.nii.gz"), []
    commit = work._commit

    def watched() -> None:
        told.append((bool(work.session.unspread), work.propagating))
        commit()

    work._commit = watched  # type: ignore[method-assign]
    work.prompt(Box((7.0, 15.0, 17.0, 25.0), 10), "a")
    assert work.wait(60)
    assert told == [(True, False), (False, True)]
    assert not work.propagating
