"""Annotation times of one session, for studies: nothing is recorded until somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

from promptseg.errors import InputError, PromptError, PromptsegError
from promptseg.timing import Open, StudyError, StudyLog
from promptseg.timing.state import Phase

__all__ = ["Times"]


class Times:
    """The phase an expert is in on one image; see `promptseg.timing`.

    While the model answers or propagates, its time is recorded and the expert's clock stands, so that
    the phases of a case add up to the time that went by. For any threads.

    Args:
        file: the log; None where there is no place for one.
        case: what the image is called, where the user gives no other name.
    """

    def __init__(self, file: Path | None, case: str) -> None:
        self.file, self.case = file, case
        self._lock = RLock()
        self._log: StudyLog | None = None
        self._open: Open | None = None
        self._resting = False  # paused by the expert
        self._working = 0  # answers of the model that are on their way
        self._fault = ""

    @property
    def facts(self) -> dict[str, Any] | None:
        """Return what is being timed: case, expert, phase, seconds so far and whether it is paused."""
        with self._lock:
            own = self._open
            if own is None or self._log is None:
                return None
            return {
                "case": own.case,
                "expert": own.expert,
                "phase": own.phase,
                "seconds": round(own.seconds(self._log.clock()), 1),
                "paused": self._resting,
            }

    def start(
        self, expert: str, phase: Phase, case: str | None = None, *, end_open: bool = False
    ) -> None:
        """Begin a phase; the one that this session is in ends.

        Args:
            expert: who works.
            phase: manual, marker or refinement.
            case: name of the case.
            end_open: end a phase that the log has open for this expert, such as after a crash, without
                the time since the log last heard of it.

        Raises:
            InputError: no place for a log, or a file that is none.
            StudyError: the expert is in a phase elsewhere.
        """
        with self._lock:
            if self.file is None:
                raise InputError("a place for times", "none", "start the server with --times FILE")
            self._log = self._log or StudyLog(self.file)
            if self._open is not None:
                self.stop()
            left = self._log.state.open.get(expert)
            if left is not None and end_open:
                _end(self._log, left)
            self._open = self._log.start(case or self.case, expert, phase)
            self._resting = False
            if self._working:
                self._open = self._log.pause(expert)

    def pause(self) -> None:
        """Let the clock stand.

        Raises:
            StudyError: nothing is timed.
        """
        with self._lock:
            log, own = self._current()
            if not own.is_paused:
                self._open = log.pause(own.expert)
            self._resting = True

    def resume(self) -> None:
        """Let the clock go on.

        Raises:
            StudyError: nothing is timed.
        """
        with self._lock:
            log, own = self._current()
            if own.is_paused and not self._working:
                self._open = log.resume(own.expert)
            self._resting = False

    def stop(self) -> None:
        """End the phase.

        Raises:
            StudyError: nothing is timed.
        """
        with self._lock:
            log, own = self._current()
            self._open = None
            log.stop(own.expert)

    def discard(self) -> None:
        """End the phase; it does not count.

        Raises:
            StudyError: nothing is timed.
        """
        with self._lock:
            log, own = self._current()
            self._open = None
            log.discard(own.expert)

    def close(self, *, abandoned: bool = False) -> None:
        """Close the session; where nobody was heard of any more, the time since then is left out."""
        with self._lock:
            if self._open is None or self._log is None:
                return
            own, self._open = self._open, None
            if abandoned:
                _end(self._log, own)
            else:
                self._log.stop(own.expert)

    def require_model(self) -> None:
        """Refuse to ask the model in a phase that does without it.

        Raises:
            PromptError: a manual phase is timed.
        """
        own = self._open
        if own is not None and own.phase == "manual":
            raise PromptError(
                "drawing by hand, not propagated, while manual work is timed",
                "a prompt for the model",
                "draw with brush or lasso, or stop the phase",
            )

    @contextmanager
    def model(self) -> Iterator[None]:
        """Record what is done within as the model's time, if an assisted phase is timed.

        A log that fails ends the timing, and not the work; `take_fault` says so.
        """
        with self._lock:
            log, own = self._log, self._open
            self._working += 1
            if log is None or own is None or own.phase == "manual":
                log = begun = None
            else:
                begun = log.clock()
                self._safely(self._stand)
                log = None if self._open is None else log
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                if log is not None and own is not None and begun is not None:
                    self._safely(partial(log.model_took, own.case, own.expert, begun))
                self._safely(self._go_on)

    def take_fault(self) -> str:
        """Return the reason why times are no longer logged, once; empty if they are."""
        fault, self._fault = self._fault, ""
        return fault

    def _safely(self, do: Callable[[], object]) -> None:
        try:
            do()
        except PromptsegError as error:
            self._open, self._fault = None, f"times are no longer logged: {error}"

    def _stand(self) -> None:
        """The expert's clock stands."""
        if self._log is not None and self._open is not None and not self._open.is_paused:
            self._open = self._log.pause(self._open.expert)

    def _go_on(self) -> None:
        """The expert's clock goes on after the model, unless it is to stand."""
        own = self._open
        if own is None or self._log is None or self._working or self._resting:
            return
        if own.is_paused:
            self._open = self._log.resume(own.expert)

    def _current(self) -> tuple[StudyLog, Open]:
        if self._log is None or self._open is None:
            raise StudyError("a phase that is timed", "none", "start one")
        return self._log, self._open


def _end(log: StudyLog, phase: Open) -> None:
    """End a phase without the time since the log last heard of it."""
    if not phase.is_paused:
        log.resume(phase.expert, after_kill=True)
    log.stop(phase.expert)
