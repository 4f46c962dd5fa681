"""Reports of an evaluation: statistics, tables, plots and one self-contained page."""

from __future__ import annotations

from pathlib import Path

from promptseg.evaluate.report.options import ReportOptions

__all__ = ["ReportOptions", "write_report"]


def write_report(
    results: Path, options: ReportOptions | None = None, renewed: bool = False
) -> Path:
    """Write summary.csv, tables/, plots/ and report.html into a folder with rows.csv.

    Args:
        results: the folder.
        options: what to show; the defaults if not given.
        renewed: the files of an earlier report of ours are replaced, and no others.

    Returns:
        The path of report.html.

    Raises:
        InputError: rows.csv or run.json cannot be used, or the baseline is no model of theirs.
        OutputError: a report is there and `overwrite` is not set, there are files of others in the
            place of ours, or the folder cannot be written.
    """
    from promptseg.evaluate.report.write import write  # scipy: only when a report is made

    return write(results, options or ReportOptions(), renewed)
