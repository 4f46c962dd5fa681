"""Ends of a training that come from outside: Ctrl-C, a cluster's signal, the time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

__all__ = ["End", "Stop", "listening", "terminating_as_interrupt"]

End = Literal["done", "late", "interrupted"]


class Stop:
    """The decision whether to stop after the present update, and why.

    Args:
        minutes: by the clock that may be spent; None for as long as it takes.
        cpu_minutes: of this process's processor time, all its threads together, that may be spent.
    """

    def __init__(self, minutes: float | None, cpu_minutes: float | None = None) -> None:
        self.interrupted = False
        self._ends = [
            (clock, clock() + 60 * each)
            for clock, each in ((time.monotonic, minutes), (time.process_time, cpu_minutes))
            if each is not None
        ]

    @property
    def late(self) -> bool:
        """Tell whether the time is up."""
        return any(clock() >= end for clock, end in self._ends)


@contextmanager
def listening(minutes: float | None, cpu_minutes: float | None = None) -> Iterator[Stop]:
    """Let a first Ctrl-C (or SIGTERM) end the training after this update; a second ends it at once."""
    stop = Stop(minutes, cpu_minutes)

    def heard(number: int, frame: FrameType | None) -> None:
        if stop.interrupted:
            raise KeyboardInterrupt
        stop.interrupted = True

    known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM"))
    main = threading.current_thread() is threading.main_thread()  # no other thread hears signals
    before = {number: signal.signal(number, heard) for number in known if main and number}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminating_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does: files are closed, and the exit code is 130.

    It is meant for what comes before and after the updates, where `listening` does not hear. Processes
    that are forked meanwhile end by SIGTERM as ever.
    """
    own = os.getpid()

    def heard(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    known = getattr(signal, "SIGTERM", None)
    if known is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(known, heard)
    try:
        yield
    finally:
        signal.signal(known, before)
