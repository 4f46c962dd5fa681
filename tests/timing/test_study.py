"""Annotation-time studies: the recorder, and the table of MedSAM's supplement."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import BrightPredictor
from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError, PromptsegError
from promptseg.image import Image
from promptseg.inference.predictor import Embedding
from promptseg.segment.segmenter import Segmenter
from promptseg.segment.session import Session
from promptseg.timing import (
    PHASES,
    Finished,
    StudyLog,
    published_times,
    read_log,
    study_table,
)
from promptseg.timing.clock import Moment, now, seconds_between
from promptseg.timing.render import as_csv, as_latex

OF_CASE = '{"study": "a", "case": "b", "expert": "c", '


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.boot = "a"
        self.day = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> Moment:
        return Moment(self.day.isoformat(), self.seconds, self.boot)

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        self.day += timedelta(seconds=seconds)

    def reboot(self) -> None:
        self.seconds, self.boot = 1.0, self.boot + "b"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> StudyLog:
    return StudyLog(tmp_path / "adrenal.jsonl", clock=clock)


def test_pauses_do_not_count(log: StudyLog, clock: Clock) -> None:
    log.start("010", "1", "manual")
    clock.wait(10)
    log.pause()
    clock.wait(100)
    log.resume()
    clock.wait(5)
    log.pause()
    clock.wait(50)
    assert log.stop() == Finished("adrenal", "010", "1", "manual", 15)
    assert log.state.open == {}
    written = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["event"] for line in written] == ["start", "pause", "resume", "pause", "stop"]
    assert [p["seconds"] for p in written[-1]["pauses"]] == [100, 50]
    assert written[-1]["arm"] == "manual"
    assert written[-1]["start"] == "2026-01-01T00:00:00+00:00"
    assert written[-1]["end"] == "2026-01-01T00:02:45+00:00"


def test_an_open_phase_is_open_again_after_a_kill(log: StudyLog, clock: Clock) -> None:
    log.start("010", "1", "marker")
    clock.wait(7)
    again = StudyLog(log.path, clock=clock)
    assert str(again.state.open["1"]) == "marker of case 010 by expert 1"
    clock.wait(3)
    assert again.stop("1").seconds == 10


def test_the_time_a_killed_program_was_away_can_be_left_out(log: StudyLog, clock: Clock) -> None:
    log.start("010", "1", "refinement")
    clock.wait(7)
    with log.inference("010", "1"):
        clock.wait(2)
    clock.wait(3600)
    with pytest.raises(PromptsegError, match="--after-kill"):
        log.resume()
    log.resume(after_kill=True)
    clock.wait(4)
    assert log.stop().seconds == 11


def test_a_kill_while_the_model_works_leaves_the_phase_paused(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    program = f"""
import os, signal
from promptseg.timing import StudyLog
log = StudyLog({str(path)!r})
log.start("010", "1", "refinement")
with log.inference("010", "1"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    log = StudyLog(path)
    assert log.state.open["1"].is_paused
    log.resume()
    assert log.stop().seconds < 60
    assert [f.phase for f in log.state.finished] == ["refinement"]


def test_the_models_time_is_not_the_experts(log: StudyLog, clock: Clock) -> None:
    log.start("010", "1", "marker")
    clock.wait(20)
    with log.inference("010", "1"):
        clock.wait(3)
    clock.wait(1)
    log.stop()
    assert [(f.phase, f.seconds) for f in log.state.finished] == [("inference", 3), ("marker", 21)]
    log.start("010", "1", "manual")
    with pytest.raises(PromptsegError, match="with the model's help"), log.inference("010", "1"):
        pass


def test_a_session_records_the_models_time(log: StudyLog, clock: Clock) -> None:
    class Slow(BrightPredictor):
        def encode(self, *slices: Any, **how: Any) -> list[Embedding]:
            clock.wait(4)
            return super().encode(*slices, **how)

    pixels = np.zeros((32, 32), np.uint8)
    pixels[8:16, 8:16] = 200
    session = Session(
        Segmenter(Slow()), Image.from_array(pixels), timed=lambda: log.inference("010", "1")
    )
    log.start("010", "1", "marker")
    clock.wait(10)
    session.add_box((6, 6, 18, 18))
    clock.wait(1)
    log.stop()
    assert [(f.phase, f.seconds) for f in log.state.finished] == [("inference", 4), ("marker", 11)]


def test_experts_share_a_log_and_each_is_in_one_phase(log: StudyLog, clock: Clock) -> None:
    log.start("010", "1", "manual")
    log.start("010", "2", "marker")
    with pytest.raises(PromptsegError, match=r"got the manual of case 010 .*discard it first"):
        log.start("015", "1", "manual")
    with pytest.raises(PromptsegError, match="the expert to be named"):
        log.stop()
    with pytest.raises(PromptsegError, match="an open phase for expert 3, got one of 1, 2"):
        log.stop("3")
    clock.wait(5)
    log.discard("1")
    assert log.stop().expert == "2"
    with pytest.raises(PromptsegError, match="an open phase, got none"):
        log.pause()


def test_a_restart_of_the_machine_is_bridged_by_the_time_of_day(
    log: StudyLog, clock: Clock
) -> None:
    log.start("010", "1", "manual")
    clock.wait(5000)
    clock.reboot()
    clock.wait(100)
    assert log.stop().seconds == 5100


def test_the_real_clock_is_shared_by_programs() -> None:
    program = "from promptseg.timing.clock import now; print(now().clock)"
    before = now()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    after = now()
    assert before.clock <= float(done.stdout) <= after.clock
    assert seconds_between(before, after) == after.clock - before.clock


def test_half_a_line_at_the_end_is_no_line_and_is_mended(log: StudyLog) -> None:
    log.add("010", "1", "manual", 5)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"study": "adre')
    assert len(read_log(log.path).finished) == 1
    log.add("010", "1", "manual", 6)
    assert [f.seconds for f in read_log(log.path).finished] == [5, 6]
    log.path.write_bytes(whole.rstrip(b"\n"))  # an editor took the end of the line
    log.add("010", "1", "manual", 7)
    assert [f.seconds for f in read_log(log.path).finished] == [5, 7]


def test_a_full_disk_is_said_and_loses_no_other_line(
    log: StudyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add("010", "1", "manual", 5)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, line: write(file, line[:20]))
        with pytest.raises(OutputError, match="a log that can be written"):
            log.add("010", "1", "manual", 6)
    log.add("010", "1", "manual", 7)
    assert [f.seconds for f in log.state.finished] == [5, 7]


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"study": "a"}',
        OF_CASE + '"phase": "lunch", "event": "stop", "seconds": 1}',
        OF_CASE + '"phase": "marker", "event": "stop", "seconds": NaN}',
        OF_CASE + '"phase": "marker", "event": "nap"}',
        OF_CASE + '"phase": "marker", "event": "pause", "at": "", "clock": 1, "boot": ""}',
    ],
)
def test_other_files_are_refused_with_the_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(line + "\n{}\n")
    with pytest.raises(InputError, match="line 1"):
        StudyLog(path)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_seconds_are_seconds(seconds: float, log: StudyLog) -> None:
    with pytest.raises(InputError, match="seconds of 0 or more"):
        log.add("010", "1", "manual", seconds)


@pytest.fixture
def published_log(log: StudyLog) -> StudyLog:
    """MedSAM's published seconds, recorded as if they were measured here."""
    for row in published_times().rows:
        for phase in PHASES:
            log.add(row.case, row.expert, phase, getattr(row, phase))
    return log


def test_the_papers_table_comes_out_of_the_papers_times(published_log: StudyLog) -> None:
    table = study_table(published_log.state.finished)
    assert len(table.rows) == 20
    assert table.rows == published_times().rows
    means = {mean.of: [round(v, 1) for v in mean.values[:4]] for mean in table.experts}
    assert means == {"1": [2237.7, 117.5, 12.2, 264.8], "2": [2145, 97.4, 13.5, 254.9]}
    assert [f"{100 * e.saving:.2f}" for e in table.experts if e.saving] == ["82.37", "82.95"]
    assert table.overall is not None
    assert table.overall.manual == pytest.approx((2237.7 + 2145) / 2)
    assert table.overall.saving == pytest.approx(1 - (394.465 + 365.779) / (2237.7 + 2145))


def test_sittings_are_added_and_unfinished_cases_are_in_no_mean() -> None:
    def times(case: str, **seconds: float) -> Iterator[Finished]:
        for phase, value in seconds.items():
            yield Finished("s", case, "1", phase, value)  # type: ignore[arg-type]

    table = study_table(
        [
            *times("a", manual=60, marker=5, inference=1, refinement=4),
            *times("a", manual=40, refinement=10),
            *times("b", manual=1000, marker=5, inference=1),
            *times("c", marker=5, inference=1, refinement=0),
        ]
    )
    assert [row.assisted for row in table.rows] == [20, None, 6]
    assert [row.saving for row in table.rows] == [0.8, None, None]
    assert table.incomplete == 2
    assert table.overall is not None
    assert (table.overall.cases, table.overall.manual, table.overall.saving) == (1, 100, 0.8)


def test_one_study_of_a_log_at_a_time(tmp_path: Path) -> None:
    finished = [Finished(name, "a", "1", "manual", 1) for name in ("x", "y")]
    assert study_table(finished, "y").title == "y"
    with pytest.raises(InputError, match="a study out of x, y, got none named"):
        study_table(finished)
    with pytest.raises(InputError, match="with finished phases"):
        study_table([])


def test_csv_and_latex_hold_the_numbers_and_mark_what_is_published(published_log: StudyLog) -> None:
    published_log.add("a_b&c", "3", "manual", 1)
    tables = [study_table(published_log.state.finished), published_times()]
    rows = list(csv.DictReader(io.StringIO(as_csv(tables))))
    means = [r for r in rows if r["row"] == "mean"]
    assert [r["saving_percent"][:5] for r in means] == ["82.37", "82.94", "82.37", "82.94"]
    assert [r["published"] for r in means] == ["no", "no", "yes", "yes"]
    latex = as_latex(tables)
    assert r"3 & a\_b\&c & 1.0 &  &  &  &  &  \\" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert "published, other data" in latex
    assert "82.95" in latex


def study(*arguments: object) -> int:
    return main(["timing", *map(str, arguments)])


def test_the_command_line_records_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.jsonl"
    who = ("--case", "010", "--expert", "1")
    assert study("start", path, *who, "--phase", "manual") == 0
    assert study("pause", path) == study("resume", path) == 0
    assert study("status", path) == 0
    assert "running: manual of case 010 by expert 1, 0 s" in capsys.readouterr().out
    assert study("stop", path) == 0
    for phase, seconds in (("manual", 1000), ("marker", 50), ("inference", 10), ("refinement", 40)):
        assert study("add", path, *who, "--phase", phase, "--seconds", seconds) == 0
    files = ("--csv", tmp_path / "t.csv", "--latex", tmp_path / "t.tex")
    capsys.readouterr()
    assert study("table", path, "--published", *files) == 0
    shown = capsys.readouterr().out
    assert "90.00" in shown
    assert "82.95" in shown
    assert "published, other data" in shown
    assert (tmp_path / "t.csv").read_text().startswith("source,published,row")
    assert study("table", path, *files) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start",), "got no --case and no --expert and no --phase"),
        (("add", "--case", "1", "--expert", "1", "--phase", "manual"), "expected --seconds"),
        (("stop",), "no such file"),
        (("table",), "no such file"),
        (("start", "--case", " ", "--expert", "1", "--phase", "manual"), "a name for the case"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    action, *more = arguments
    assert study(action, tmp_path / "s.jsonl", *more) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
