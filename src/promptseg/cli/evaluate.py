"""`promptseg evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from promptseg.cli.listed import tell_listed
from promptseg.cli.options import parse
from promptseg.evaluate.options import EvaluateJob
from promptseg.names import for_terminal

__all__ = ["run"]


def _fields(content: dict[str, Any], _path: Path, _replay: bool) -> dict[str, Any]:
    """The options of a configuration file under the names they have in Python."""
    renamed = {"nnunet_split": "split"}
    return {renamed.get(name, name): value for name, value in content.items()}


def run(argv: list[str]) -> int:
    """Run the verb, or `compare`, which is then the first word; returns the exit code."""
    if argv[:1] == ["compare"]:
        from promptseg.cli.compare import run as compare

        return compare(argv[1:])
    job = parse(EvaluateJob, "evaluate", argv, _fields)
    from promptseg.jobs.evaluate import evaluate, evaluate_share

    if job.shard is not None:
        code = tell_listed(evaluate_share(job), job.quiet, "scored")
        if not job.quiet:
            print("after all shares, the same command without --shard writes tables and report")
        return code
    evaluated = evaluate(job)
    if not job.quiet:
        if evaluated.skipped:
            tasks = evaluated.skipped + evaluated.done + len(evaluated.failed)
            print(f"{evaluated.skipped} of {tasks} done already", file=sys.stderr)
        for line in evaluated.summary():
            print(for_terminal(line))
        print(f"report: {evaluated.report}")
    return 2 if evaluated.failed else 0
