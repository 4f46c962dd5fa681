"""Two finished evaluations compared: mask by mask, with intervals by patients."""

from __future__ import annotations

from pathlib import Path

from promptseg.evaluate.two_runs.options import CompareOptions
from promptseg.evaluate.two_runs.outcome import Compared

__all__ = ["CompareOptions", "Compared", "compare_runs"]


def compare_runs(
    first: Path, second: Path, output: Path, options: CompareOptions | None = None
) -> Compared:
    """Compare two finished evaluations and write tables, a plot and a page.

    Args:
        first, second: folders that `promptseg evaluate` filled; differences are second minus first.
        output: folder for pairs.csv (a line per mask), comparison.csv, comparison.json, plots/ and
            comparison.html.
        options: what may differ, and what is counted; the defaults if not given.

    Returns:
        The verdicts and the path of the page.

    Raises:
        InputError: a folder without finished results; runs of different options, datasets or masks.
        OutputError: the output exists or cannot be written.

    Examples:
        >>> from promptseg.evaluate.two_runs import compare_runs
        >>> compare_runs(Path("before"), Path("after"), Path("compared")).verdicts  # doctest: +SKIP
    """
    from promptseg.evaluate.two_runs.write import write  # scipy: only when runs are compared

    return write(first, second, output, options or CompareOptions())
