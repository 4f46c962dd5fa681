"""Ends of a training that come from outside: Ctrl-C, a cluster's signal, the clock."""

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
    """Says whether to stop after the present update, and why.

    Args:
        minutes: that may be spent; None for as long as it takes.
    """

    def __init__(self, minutes: float | None) -> None:
        self.interrupted = False
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def late(self) -> bool:
        """Tell whether the time is up."""
        return self._end is not None and time.monotonic() >= self._end


@contextmanager
def listening(minutes: float | None) -> Iterator[Stop]:
    """Provide a first Ctrl-C (or SIGTERM) lets the present update end; a second one does not."""
    stop = Stop(minutes)

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
