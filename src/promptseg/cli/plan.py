"""`promptseg plan`."""

from __future__ import annotations

import json

from promptseg.cli.options import parse
from promptseg.errors import InputError
from promptseg.jobs.plan_options import PlanJob
from promptseg.names import for_terminal

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    listed = argv[:1] if argv and not argv[0].startswith("-") else []
    job = parse(PlanJob, "plan", ["-i", *listed, *argv[1:]] if listed else argv)
    from promptseg.datasets.case_sources import is_many

    if not is_many(job.input):
        raise InputError(
            "a list of cases: .csv, .tsv, .parquet, a folder in storage or a DICOMweb query",
            str(job.input),
            "name one",
        )
    from promptseg.jobs.plan import plan_list

    plan = plan_list(job)
    if job.json:
        print(json.dumps(plan.to_json(), indent=1))
        return 0
    for line in plan.lines():
        print(for_terminal(line))
    return 0
