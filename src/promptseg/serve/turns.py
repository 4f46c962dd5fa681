"""Turns on a device: one user at a time, fair between users, the most urgent first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from threading import Condition, local

from promptseg.serve.lease import Clock

__all__ = ["CancelledError", "Job", "Turns", "Urgency"]


class Urgency(IntEnum):
    """The urgency of a job: the lowest number goes first."""

    CLICK = 0
    SPREAD = 1
    BACKGROUND = 2


class CancelledError(Exception):
    """The job at work is not wanted any more."""


@dataclass(eq=False)
class Job:
    """Something that wants a device, slice by slice.

    Attributes:
        user: who asked for it.
        urgency: how soon.
        cancelled: whether it is to stop at its next slice.
    """

    user: str
    urgency: Urgency
    cancelled: bool = False
    _number: int = field(default=0, repr=False)


class Turns:
    """Hands one device to one job at a time.

    Of those that wait the most urgent is next and, among equals, the job of the user who has had the
    device for the shortest time. A job that rests between its slices lets those before it that have
    come meanwhile. Who comes anew is set beside those at work, so that nobody saves up turns.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._changed = Condition()
        self._holder: Job | None = None
        self._since = 0.0
        self._waiting: list[Job] = []
        self._used: dict[str, float] = {}
        self._numbers = count(1)
        self._here = local()

    @contextmanager
    def take(self, job: Job) -> Iterator[None]:
        """Have the device for a job; `rest` within gives others a chance.

        Raises:
            CancelledError: the job was cancelled before its turn, or at a rest.
        """
        with self._changed:
            at_work = [self._used.get(j.user, 0.0) for j in self._active()]
            self._used[job.user] = max(self._used.get(job.user, 0.0), min(at_work, default=0.0))
            self._queue(job)
            self._wait(job)
        self._here.job = job
        try:
            yield
        finally:
            self._here.job = None
            with self._changed:
                if self._holder is job:
                    self._give_up()

    def rest(self) -> None:
        """Let others go first, between two slices of the job that this thread has the device for.

        Raises:
            CancelledError: the job is not wanted any more.
        """
        job: Job | None = getattr(self._here, "job", None)
        if job is None:
            return
        if job.cancelled:
            raise CancelledError
        with self._changed:
            self._account()
            if any(self._rank(other) < self._rank(job) for other in self._waiting):
                self._queue(job)
                self._give_up()
                self._wait(job)

    def cancel(self, job: Job) -> None:
        """Stop a job at its next slice, or take it out of the queue."""
        with self._changed:
            job.cancelled = True
            self._changed.notify_all()

    def waits(self, urgency: Urgency) -> bool:
        """Tell whether a job of at least this urgency waits or is at work."""
        with self._changed:
            return any(job.urgency <= urgency for job in self._active())

    def forget(self, user: str) -> None:
        """Forget a user of whom nothing more will come."""
        with self._changed:
            self._used.pop(user, None)

    def _active(self) -> list[Job]:
        return [*self._waiting, *([self._holder] if self._holder else [])]

    def _rank(self, job: Job) -> tuple[int, float, int]:
        return job.urgency, self._used.get(job.user, 0.0), job._number

    def _queue(self, job: Job) -> None:
        job._number = next(self._numbers)
        self._waiting.append(job)

    def _account(self) -> None:
        """Write down how long the holder has had the device."""
        now = self._clock()
        if self._holder:
            user = self._holder.user
            self._used[user] = self._used.get(user, 0.0) + now - self._since
        self._since = now

    def _give_up(self) -> None:
        self._account()
        self._holder = None
        self._next()

    def _next(self) -> None:
        if self._holder is None and self._waiting:
            self._holder = min(self._waiting, key=self._rank)
            self._waiting.remove(self._holder)
            self._since = self._clock()
        self._changed.notify_all()

    def _wait(self, job: Job) -> None:
        self._next()
        while self._holder is not job:
            if job.cancelled:
                self._waiting.remove(job)
                raise CancelledError
            self._changed.wait()
        if job.cancelled:
            self._give_up()
            raise CancelledError
