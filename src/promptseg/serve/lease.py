"""Leases: how long a session belongs to somebody who may have gone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

__all__ = ["Clock", "Lease"]

Clock = Callable[[], float]
"""Seconds that never run backwards, such as `time.monotonic`."""


@dataclass(eq=False)
class Lease:
    """Two clocks: one that any sign of life sets back, and one that only real actions do.

    Attributes:
        clock: the time.
        idle_s: seconds without an action until it ends.
        liveness_s: seconds without a sign of life until it ends.
        token: who holds it; nobody can guess it.
    """

    clock: Clock
    idle_s: float
    liveness_s: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    def __post_init__(self) -> None:
        self._alive = self._acted = self.clock()
        self._connected, self._counting = 0, Lock()

    def touch(self) -> None:
        """Record a sign of life of the client."""
        self._alive = self.clock()

    def act(self) -> None:
        """Record an action of the user, which is a sign of life as well."""
        self._alive = self._acted = self.clock()

    def connect(self, change: int) -> None:
        """Count a connection that was made (1) or lost (-1); one that stays open is a sign of life.

        So is a request that is being answered, however long that takes.
        """
        with self._counting:
            self._connected += change
        self.touch()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the lease alive while the context lasts."""
        self.connect(1)
        try:
            yield
        finally:
            self.connect(-1)

    @property
    def remaining(self) -> float:
        """Return the seconds until the lease ends; at most 0 if it has."""
        now = self.clock()
        alive = self.liveness_s if self._connected else self._alive + self.liveness_s - now
        return min(alive, self._acted + self.idle_s - now)

    @property
    def ended(self) -> bool:
        """Tell whether the lease has ended."""
        return self.remaining <= 0
