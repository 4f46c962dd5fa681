"""`promptseg report`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import tyro

from promptseg.cli.options import parse
from promptseg.evaluate.report import ReportOptions, write_report

__all__ = ["run"]


@dataclass(frozen=True, kw_only=True)
class _ReportJob(ReportOptions):
    """Tables, plots and one HTML page from the rows of an evaluation (docs/reports.md)."""

    results: tyro.conf.Positional[Path]
    """Folder with rows.csv, and run.json if there is one."""


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(_ReportJob, "report", argv)
    options = ReportOptions(**{f.name: getattr(job, f.name) for f in fields(ReportOptions)})
    print(f"report: {write_report(job.results, options)}")
    return 0
