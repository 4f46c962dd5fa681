"""Durations of tasks, and which one takes far longer at the end of a job."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from statistics import median
from typing import Any

from promptseg.work.task import Task

__all__ = ["Pace"]

log = logging.getLogger("promptseg")

_SLOW, _LEAST_SLOW = 3.0, 30.0  # a straggler: times the usual, and seconds
_REMEMBERED = 1000  # durations


class Pace:
    """Durations of tasks; the last ones to end are named where they take far longer than usual."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._last = time.monotonic()
        self._told: set[int] = set()

    def ended(self, seconds: float) -> None:
        """Record one that has ended, and took so long."""
        self._seconds.append(seconds)
        self._last = time.monotonic()

    @property
    def usual(self) -> float:
        """Return the seconds that one takes as a rule; 0 if none has ended."""
        return median(self._seconds) if self._seconds else 0.0

    def is_slow(self, seconds: float) -> bool:
        """Tell whether one that has taken so long is a straggler."""
        return bool(self._seconds) and seconds > max(_SLOW * self.usual, _LEAST_SLOW)

    def look(self, left: Iterable[Task[Any, Any]]) -> None:
        """Log which tasks are still at work, when nothing has ended for long; each once.

        Args:
            left: at work, with none waiting.
        """
        if not self.is_slow(time.monotonic() - self._last):
            return
        for task in left:
            if id(task) not in self._told:
                self._told.add(id(task))
                log.warning(
                    "%s takes far longer than usual (%.0f s): the last ones are waited for",
                    task.title,
                    self.usual,
                )
