"""Progress on standard error: bars on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from promptseg.names import for_terminal

__all__ = ["byte_progress", "step_progress"]


@contextmanager
def byte_progress(title: str, total: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar for a download; the function takes the bytes there are so far."""
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
    """A bar for counted work; the function takes the steps done and a word on the present one."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task(for_terminal(title), total=total)

        def update(done: int, what: str = "") -> None:
            bar.update(task, completed=done, description=for_terminal(f"{title} {what}".strip()))

        yield update
