"""A record of what becomes of the tasks of a job, kept as they end: results table and live page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from promptseg.errors import OutputError, PromptsegError
from promptseg.jobs.live_page import LivePage
from promptseg.jobs.results_table import ResultsTable, Writer
from promptseg.work import Shard, Tally

__all__ = ["About", "LiveRecord", "record_files"]

_NAMED = 5


class About(NamedTuple):
    """The facts that a table says of every task, whatever came of it.

    Attributes:
        row: its number in the list.
        image: what was done, in words.
        output: where its result is; empty where several share one.
    """

    row: int
    image: str
    output: str = ""


def record_files(shard: Shard) -> tuple[str, str]:
    """Return the names of the table and the page that a share of a job writes.

    Examples:
        >>> from promptseg.work import WHOLE
        >>> record_files(WHOLE)
        ('results.csv', 'progress.html')
    """
    return f"results{shard.suffix}.csv", f"progress{shard.suffix}.html"


class LiveRecord:
    """The results table and the page of a job; each share of a job has its own.

    Args:
        folder: of the results.
        shard: which share it is.
        columns: of the table, that the verb adds.
        title: of the page.
        total: how many tasks the share has.
        tally: is read when the page is written.

    Raises:
        OutputError: files of somebody else's are in their place.

    Attributes:
        table: of the results.
        page: in a browser.
        failures: the first few tasks that failed: name and error.
    """

    def __init__(
        self,
        folder: Path,
        shard: Shard,
        columns: Sequence[str],
        *,
        title: str,
        total: int,
        tally: Tally,
    ) -> None:
        table, page = record_files(shard)
        self.table = ResultsTable(folder / table, columns)
        self.page = LivePage(folder / page, title, total, tally)
        self.failures: list[tuple[str, PromptsegError]] = []
        self._lines: Writer | None = None

    @contextmanager
    def writing(self) -> Iterator[LiveRecord]:
        """Open the table; the page is written a last time in the end, whatever ends it.

        Raises:
            OutputError: the folder cannot be written.
        """
        with self.table.writing() as lines:
            self._lines = lines
            try:
                yield self
            finally:
                with suppress(OutputError):  # what ends a list is said first: a full disk, say
                    self.page.write(over=True)

    def note(self, line: Mapping[str, Any]) -> None:
        """Add a line of the table on a case that is not done now.

        Raises:
            OutputError: the disk is full, say.
        """
        assert self._lines is not None, "within `writing`"
        self._lines.append(line)

    def add(
        self, about: About, result: Mapping[str, Any] | None, error: PromptsegError | None
    ) -> None:
        """Add a line on a task that has ended.

        Args:
            about: which.
            result: the table's other columns as far as they are known, such as `seconds`.
            error: why it failed, if so.

        Raises:
            OutputError: the disk is full, say.
        """
        assert self._lines is not None, "within `writing`"
        came = {**(result or {}), **({"error": str(error)} if error else {})}
        line = {**about._asdict(), "state": "done" if error is None else "failed", **came}
        self._lines.append(line)
        self.page.add(about.image, line.get("seconds"), line.get("error"))
        if error is not None and len(self.failures) < _NAMED:
            self.failures.append((about.image, error))
