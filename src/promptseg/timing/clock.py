"""Moments that can be compared after the program, or the machine, was stopped in between."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Moment", "now", "seconds_between"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Moment:
    """A point in time by two clocks.

    Attributes:
        at: the time of day, UTC, in ISO form.
        clock: seconds of the monotonic clock, which nobody sets and all programs of a machine share.
        boot: which start of the machine that clock counts from; empty where it cannot be told.
    """

    at: str
    clock: float
    boot: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return this as plain values."""
        return {"at": self.at, "clock": round(self.clock, 3), "boot": self.boot}


def now() -> Moment:
    """Return this moment."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Moment(at, time.monotonic(), _boot())


def seconds_between(first: Moment, last: Moment) -> float:
    """Return the seconds from one moment to a later one.

    By the monotonic clock; by the time of day where the machine was started anew in between, or the
    moments are of two machines.
    """
    if first.boot == last.boot and last.clock >= first.clock:
        return last.clock - first.clock
    by_day = datetime.fromisoformat(last.at) - datetime.fromisoformat(first.at)
    return max(0.0, by_day.total_seconds())


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
