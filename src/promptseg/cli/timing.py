"""`promptseg timing`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.names import for_terminal

if TYPE_CHECKING:
    from promptseg.timing import StudyLog, StudyTable
    from promptseg.timing.state import Phase

__all__ = ["TimingCommand", "run"]

_WIDE = 120  # columns, where no terminal says how many it has


@dataclass
class TimingCommand:
    """Record how long annotation takes, by hand and with a model's help, and show what it saves.

    start, pause, resume and stop are typed while an expert works, in whatever tool; the log is a file
    of JSON lines that a kill cannot damage. table shows it as MedSAM's supplement does.
    """

    action: tyro.conf.Positional[
        Literal["start", "pause", "resume", "stop", "discard", "add", "status", "table"]
    ]
    """start, pause, resume, stop: a phase. discard: end one that is not to count. add: record seconds
    timed elsewhere. status: what is open and finished. table: times per case and expert, savings."""

    log: tyro.conf.Positional[Path]
    """The log (.jsonl); made by the first start or add."""

    case: str | None = None
    """Case that start and add are for."""

    expert: str | None = None
    """Who works; may be left out while one alone is in a phase."""

    phase: Literal["manual", "marker", "inference", "refinement"] | None = None
    """manual: the case by hand. marker, inference, refinement: the parts of assisted work."""

    seconds: float | None = None
    """Seconds that add records."""

    study: str | None = None
    """Name of the study (default: the log's name; table: the only one in the log)."""

    after_kill: bool = False
    """resume a phase whose program was killed, leaving out the time since the log last heard of it."""

    published: bool = False
    """Show MedSAM's published times below the table; they are of other data."""

    csv: Path | None = None
    """Write the table to this CSV file too."""

    latex: Path | None = None
    """Write the table to this LaTeX file too."""

    overwrite: bool = False
    """Replace files that exist."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    command = parse(TimingCommand, "timing", argv)
    if command.action == "table":
        _table(command)
        return 0
    from promptseg.timing import StudyLog

    new = command.action in ("start", "add")
    if not new and not command.log.exists():
        raise InputError("a log of promptseg timing", f"{command.log}: no such file")
    log = StudyLog(command.log, command.study)
    acts: dict[str, Callable[[StudyLog, TimingCommand], str]] = {
        "start": lambda log, c: f"started {log.start(*_what(c))}",
        "pause": lambda log, c: f"paused {log.pause(c.expert)}",
        "resume": lambda log, c: f"resumed {log.resume(c.expert, after_kill=c.after_kill)}",
        "discard": lambda log, c: f"discarded {log.discard(c.expert)}",
        "stop": _stop,
        "add": _add,
        "status": _status,
    }
    print(for_terminal(acts[command.action](log, command)))
    return 0


def _what(command: TimingCommand) -> tuple[str, str, Phase]:
    """Return case, expert and phase, all of which a new entry needs."""
    if command.case is None or command.expert is None or command.phase is None:
        wanted = {"case": command.case, "expert": command.expert, "phase": command.phase}
        missing = [f"--{name}" for name, value in wanted.items() if value is None]
        raise InputError("--case, --expert and --phase", f"no {' and no '.join(missing)}")
    return command.case, command.expert, command.phase


def _stop(log: StudyLog, command: TimingCommand) -> str:
    done = log.stop(command.expert)
    return f"{done.phase} of case {done.case} by expert {done.expert}: {done.seconds:.1f} s"


def _add(log: StudyLog, command: TimingCommand) -> str:
    what = _what(command)
    if command.seconds is None:
        raise InputError("--seconds for add", "none")
    log.add(*what, command.seconds)
    return f"added {command.seconds:g} s"


def _status(log: StudyLog, _: TimingCommand) -> str:
    state, moment = log.state, log.clock()
    lines = [
        f"{'paused' if phase.is_paused else 'running'}: {phase}, {phase.seconds(moment):.0f} s"
        for phase in state.open.values()
    ]
    return "\n".join([*(lines or ["nothing is open"]), f"finished phases: {len(state.finished)}"])


def _table(command: TimingCommand) -> None:
    from rich.console import Console

    from promptseg.formats.files import atomic_paths, require_file
    from promptseg.formats.outputs import Reads, check_outputs
    from promptseg.timing import published_times, read_log, study_table
    from promptseg.timing.render import as_csv, as_latex, as_rich

    require_file(command.log, "a log of promptseg timing")
    tables: list[StudyTable] = [study_table(read_log(command.log).finished, command.study)]
    if command.published:
        tables.append(published_times())
    check_outputs((command.csv, command.latex), command.overwrite, Reads([command.log]))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    for table in tables:
        console.print(as_rich(table))
    texts = {command.csv: as_csv(tables), command.latex: as_latex(tables)}
    asked = {path: text for path, text in texts.items() if path is not None}
    if asked:
        with atomic_paths(*asked, overwrite=command.overwrite) as temporaries:
            for temporary, text in zip(temporaries, asked.values(), strict=True):
                temporary.write_text(text, encoding="utf-8")
