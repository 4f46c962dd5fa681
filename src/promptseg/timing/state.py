"""State of a study by its log: the phases that are finished, and those that someone is in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from promptseg.errors import InputError
from promptseg.formats.lines import read_lines
from promptseg.timing.clock import Moment, seconds_between

__all__ = ["PHASES", "Finished", "Open", "Phase", "StudyState", "read_log"]

Phase = Literal["manual", "marker", "inference", "refinement"]
PHASES: tuple[Phase, ...] = get_args(Phase)

_BEGUN = {"start", "pause", "resume", "discard"}


@dataclass(frozen=True)
class Open:
    """A phase that someone is in.

    Attributes:
        study, case, expert, phase: what it is.
        started: when it began.
        seen: the last that was heard of it.
        pauses: when each pause began and ended; the last has no end while the phase is paused.

    Examples:
        >>> from promptseg.timing import StudyLog
        >>> log = StudyLog("adrenal.jsonl")
        >>> phase = log.start("case 7", "expert 1", "manual")
        >>> (phase.case, phase.phase, phase.is_paused)
        ('case 7', 'manual', False)
    """

    study: str
    case: str
    expert: str
    phase: Phase
    started: Moment
    seen: Moment
    pauses: tuple[tuple[Moment, Moment | None], ...] = ()

    @property
    def is_paused(self) -> bool:
        """Tell whether the clock stands."""
        return bool(self.pauses) and self.pauses[-1][1] is None

    def seconds(self, until: Moment) -> float:
        """Return the seconds worked, without the pauses."""
        paused = sum(seconds_between(first, last or until) for first, last in self.pauses)
        return max(0.0, seconds_between(self.started, until) - paused)

    def __str__(self) -> str:
        return f"{self.phase} of case {self.case} by expert {self.expert}"


@dataclass(frozen=True)
class Finished:
    """One finished sitting: a phase may have several, which are added up.

    Examples:
        >>> from promptseg.timing import Finished
        >>> Finished("adrenal", "case 7", "expert 1", "manual", seconds=95.0).seconds
        95.0
    """

    study: str
    case: str
    expert: str
    phase: Phase
    seconds: float


@dataclass
class StudyState:
    """The content of a log: finished sittings, and the phases that experts are in.

    Attributes:
        finished: every sitting, in order.
        open: by expert, the phase each is in.
    """

    finished: list[Finished] = field(default_factory=list)
    open: dict[str, Open] = field(default_factory=dict)


def read_log(path: Path) -> StudyState:
    """Read a log; an empty state if there is no file yet.

    Raises:
        InputError: not readable, or a line that is none of ours.

    Examples:
        >>> from pathlib import Path
        >>> from promptseg.timing import StudyLog, read_log
        >>> finished = StudyLog("adrenal.jsonl").add("case 7", "expert 1", "manual", 95.0)
        >>> [sitting.seconds for sitting in read_log(Path("adrenal.jsonl")).finished]
        [95.0]
    """
    state = StudyState()
    for number, line in read_lines(path):
        try:
            _apply(state, line)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(
                "a log of promptseg timing", f"{path}, line {number} ({reason})", "correct it"
            ) from None
    return state


def _apply(state: StudyState, line: dict[str, Any]) -> None:
    """One line of a log."""
    study, case, expert, phase = (str(line[k]) for k in ("study", "case", "expert", "phase"))
    event = line["event"]
    if phase not in PHASES:
        raise ValueError(f"phase {phase!r}")
    if event == "stop":
        seconds = float(line["seconds"])
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds {seconds}")
        state.finished.append(Finished(study, case, expert, phase, seconds))
        current = state.open.get(expert)
        if current is not None and current.started.at == line.get("start"):
            del state.open[expert]  # inference and times of another clock close nothing
        return
    if event not in _BEGUN:
        raise ValueError(f"event {event!r}")
    moment = Moment(str(line["at"]), float(line["clock"]), str(line["boot"]))
    if event == "start":
        state.open[expert] = Open(study, case, expert, phase, moment, moment)
        return
    current = state.open[expert]
    if event == "pause":
        pauses = (*current.pauses, (moment, None))
        state.open[expert] = replace(current, pauses=pauses, seen=moment)
    elif event == "resume":
        *before, (began, _) = current.pauses
        state.open[expert] = replace(current, pauses=(*before, (began, moment)), seen=moment)
    else:
        del state.open[expert]
