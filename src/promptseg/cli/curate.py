"""`promptseg curate`."""

from __future__ import annotations

import json
from importlib import import_module

from promptseg.cli.listed import tell_listed
from promptseg.cli.options import parse

__all__ = ["run"]

_OTHERS = {
    "list": "catalogue",
    "show": "catalogue",
    "check": "preflight",
    "statistics": "preflight",
}


def run(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    if argv and argv[0] in _OTHERS:
        other: int = import_module(f"promptseg.cli.{_OTHERS[argv[0]]}").run(argv)
        return other
    from promptseg.curate.options import CurateJob

    job = parse(CurateJob, "curate", argv)
    from promptseg.jobs.curate import curate, curate_share

    if job.shard is not None:
        code = tell_listed(curate_share(job), job.quiet, "parts converted", job.json)
        if not job.quiet and not job.json:
            print("after all shares, the same command without --shard makes the collection of them")
        return code
    collection = curate(job)
    facts = collection.facts
    if job.json:
        print(json.dumps({k: v for k, v in facts.items() if k != "datasets"}, indent=1))
        return 0
    if job.quiet:
        return 0
    print(
        f"{facts['samples']} samples with {facts['targets']} objects, {facts['bytes'] / 1e6:.1f} MB"
    )
    for split, own in facts["counts"]["all"].items():
        print(f"{split:<11}{own['samples']:>8} samples of {own['cases']} cases")
    for rule, each in facts["excluded"].items():
        print(f"left out: {rule}: {each['cases']} cases or slices, {each['objects']} objects")
    print(f"summary: {job.output / 'summary.md'}")
    return 0
