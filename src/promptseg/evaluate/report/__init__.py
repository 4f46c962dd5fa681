"""Reports of an evaluation: statistics, tables, plots and one self-contained page."""

from promptseg.evaluate.report.write import ReportOptions, write_report

__all__ = ["ReportOptions", "write_report"]
