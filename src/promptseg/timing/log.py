"""The recorder: who worked on which case, in which phase, for how many seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptseg.errors import InputError, PromptsegError
from promptseg.formats.lines import append_line
from promptseg.timing.clock import Moment, now, seconds_between
from promptseg.timing.state import PHASES, Finished, Open, Phase, StudyState, read_log

__all__ = ["StudyError", "StudyLog"]


class StudyError(PromptsegError):
    """A step that does not fit what the log says is going on.

    Examples:
        >>> from promptseg.timing import StudyError, StudyLog
        >>> try:
        ...     StudyLog("adrenal.jsonl").stop("expert 1")
        ... except StudyError as error:
        ...     print(error.expected)
        an open phase for expert expert 1
    """


class StudyLog:
    """Records an annotation-time study in a file of JSON lines.

    An expert is in one phase at a time; several experts may share the file. Everything is on the disk
    when a call returns, and a phase that was open when the program was killed is open again when the
    log is opened next. Time is measured with the monotonic clock.

    Args:
        path: the file; made with its first line.
        study: name of the study; the file's name without its ending if not given.
        clock: what time it is.

    Raises:
        InputError: the file is no such log.

    Examples:
        >>> from promptseg.timing import StudyLog, study_table
        >>> log = StudyLog("adrenal.jsonl")
        >>> for phase, seconds in (("manual", 90.0), ("marker", 9.0), ("refinement", 21.0)):
        ...     finished = log.add("case 7", "expert 1", phase, seconds)
        >>> log.state.finished[0].seconds
        90.0
    """

    def __init__(
        self, path: str | Path, study: str | None = None, clock: Callable[[], Moment] = now
    ) -> None:
        self.path = Path(path)
        self.study = self.path.stem if study is None else _named("study", study)
        self.clock = clock
        read_log(self.path)

    @property
    def state(self) -> StudyState:
        """Read the state of the studies from the file."""
        return read_log(self.path)

    def start(self, case: str, expert: str, phase: Phase) -> Open:
        """Begin a phase.

        Raises:
            StudyError: the expert is in another one.
        """
        begun = self._phase(case, expert, phase)
        current = self.state.open.get(begun.expert)
        if current is not None:
            raise StudyError(
                f"expert {expert} to be in no phase", f"the {current}", "stop or discard it first"
            )
        self._write("start", begun, begun.started)
        return begun

    def pause(self, expert: str | None = None) -> Open:
        """Let the clock stand.

        Args:
            expert: whose; may be left out while one alone is in a phase, as in all that follows.

        Raises:
            StudyError: no such phase, or one that is paused.
        """
        current = self._current(expert)
        if current.is_paused:
            raise StudyError("a phase that is running", f"the {current}, paused", "resume or stop")
        moment = self.clock()
        self._write("pause", current, moment)
        return replace(current, pauses=(*current.pauses, (moment, None)), seen=moment)

    def resume(self, expert: str | None = None, *, after_kill: bool = False) -> Open:
        """Let the clock go on.

        Args:
            expert: whose.
            after_kill: the phase was running when its program was killed: the time since the log last
                heard of it is left out.

        Raises:
            StudyError: no such phase, or one that is running and nothing was said of a kill.
        """
        current = self._current(expert)
        if not current.is_paused:
            if not after_kill:
                raise StudyError(
                    "a phase that is paused",
                    f"the {current}, running",
                    "if its program was killed, leave out the time since then with --after-kill",
                )
            self._write("pause", current, current.seen)
        self._write("resume", current, self.clock())
        return self._current(current.expert)

    def stop(self, expert: str | None = None) -> Finished:
        """End a phase, paused or not; returns what it took.

        Raises:
            StudyError: no such phase.
        """
        current = self._current(expert)
        return self._finish(current, self.clock())

    def discard(self, expert: str | None = None) -> Open:
        """End a phase that is not to count.

        Raises:
            StudyError: no such phase.
        """
        current = self._current(expert)
        self._write("discard", current, self.clock())
        return current

    def add(self, case: str, expert: str, phase: Phase, seconds: float) -> Finished:
        """Record a phase that was timed elsewhere.

        Raises:
            InputError: no number of seconds.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError("seconds of 0 or more", repr(seconds), "correct the number")
        phase_of = self._phase(case, expert, phase)
        entry = {**_facts(phase_of), "event": "stop", "seconds": round(float(seconds), 3)}
        append_line(self.path, entry)
        return Finished(phase_of.study, case, expert, phase, entry["seconds"])

    @contextmanager
    def inference(self, case: str, expert: str) -> Iterator[None]:
        """Record what is done within as the model's time; the expert's own phase is paused meanwhile.

        Raises:
            StudyError: the expert is in the manual phase, or on another case.
        """
        own = self.state.open.get(expert)
        if own is not None and (own.phase == "manual" or own.case != case):
            raise StudyError(
                f"expert {expert} to work on case {case} with the model's help",
                f"the {own}",
                "stop that phase first",
            )
        waits = own is not None and not own.is_paused
        if waits:
            self.pause(expert)
        work = self._phase(case, expert, "inference")
        try:
            yield
        finally:
            self._finish(work, self.clock())
            if waits:
                self.resume(expert)

    def model_took(self, case: str, expert: str, since: Moment) -> Finished:
        """Record the model's time from a moment until now; nobody's own phase is touched.

        Args:
            case: what the model worked on.
            expert: for whom.
            since: when it began, by `clock`.
        """
        work = replace(self._phase(case, expert, "inference"), started=since)
        return self._finish(work, self.clock())

    def _phase(self, case: str, expert: str, phase: Phase) -> Open:
        if phase not in PHASES:
            raise InputError(f"a phase out of {', '.join(PHASES)}", repr(phase), "name one of them")
        moment = self.clock()
        case, expert = _named("case", case), _named("expert", expert)
        return Open(self.study, case, expert, phase, moment, moment)

    def _current(self, expert: str | None) -> Open:
        phases = self.state.open
        if expert is None and len(phases) == 1:
            return next(iter(phases.values()))
        if expert in phases:
            return phases[expert]
        names = ", ".join(phases)
        who = "" if expert is None else f" for expert {expert}"
        if expert is None and phases:
            raise StudyError("the expert to be named", f"phases of {names}", "add the expert")
        raise StudyError(f"an open phase{who}", f"one of {names}" if names else "none", "start one")

    def _finish(self, phase: Open, moment: Moment) -> Finished:
        seconds = round(phase.seconds(moment), 3)
        pauses = [
            {"start": a.at, "end": b.at, "seconds": round(seconds_between(a, b), 3)}
            for a, b in ((first, last or moment) for first, last in phase.pauses)
        ]
        span = {"start": phase.started.at, "end": moment.at, "seconds": seconds, "pauses": pauses}
        append_line(self.path, {**_facts(phase), "event": "stop", **span})
        return Finished(phase.study, phase.case, phase.expert, phase.phase, seconds)

    def _write(self, event: str, phase: Open, moment: Moment) -> None:
        append_line(self.path, {**_facts(phase), "event": event, **moment.to_json()})


def _facts(phase: Open) -> dict[str, Any]:
    arm = "manual" if phase.phase == "manual" else "assisted"
    return {
        "study": phase.study,
        "case": phase.case,
        "expert": phase.expert,
        "arm": arm,
        "phase": phase.phase,
    }


def _named(what: str, name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"a name for the {what}", repr(name), f"name the {what}")
    return name
