"""`promptseg evaluate`."""

from __future__ import annotations

from promptseg.cli.options import parse
from promptseg.evaluate.options import EvaluateJob

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    job = parse(EvaluateJob, "evaluate", argv)
    from promptseg.jobs.evaluate import evaluate

    return evaluate(job)
