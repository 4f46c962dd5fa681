"""Progress on standard error: bars on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from promptseg.names import for_terminal

__all__ = ["Lines", "byte_progress", "step_progress"]

_SECONDS = 30.0
"""Between two lines of progress where there is no terminal."""


class Lines:
    """Progress as a line now and then, for logs: how far it is, and about how long it will take.

    Args:
        title: of the work.
        total: steps, if they are known.
        clock: seconds.
        seconds: between two lines; work that takes less says nothing.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = _SECONDS,
    ) -> None:
        self.title, self.total, self.clock, self.seconds = title, total, clock, seconds
        self.begun = self.said = clock()

    def update(self, done: int, what: str = "") -> None:
        """Say how far it is, if nothing was said for a while.

        Args:
            done: steps so far.
            what: a word on the present one.
        """
        now = self.clock()
        if now - self.said < self.seconds:
            return
        self.said = now
        of = "" if self.total is None else f" of {self.total}"
        left = (now - self.begun) * (self.total - done) / done if self.total and done else None
        until = "" if left is None else f", about {_duration(left)} left"
        print(
            for_terminal(f"{self.title} {what}".strip() + f": {done}{of}{until}"), file=sys.stderr
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def byte_progress(title: str, total: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Provide a progress bar for a download, as a function that takes the bytes there are so far."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    if not quiet and not console.is_terminal:
        console.print(for_terminal(f"{title} ({total / 1e6:.0f} MB)"), markup=False)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(for_terminal(title), total=total)
        yield lambda done: bar.update(task, completed=min(done, total))


@contextmanager
def step_progress(
    title: str, total: int | None, quiet: bool = False
) -> Iterator[Callable[[int, str], None]]:
    """Provide a progress bar for work, as a function that takes the steps done and a word on the
    present one.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal and not quiet:
        yield Lines(title, total).update
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task(for_terminal(title), total=total)

        def update(done: int, what: str = "") -> None:
            bar.update(task, completed=done, description=for_terminal(f"{title} {what}".strip()))

        yield update
